"""Speak the texts of queued jobs, before a worker or a GPU is asked for.

A provider that is busy keeps only its job waiting. What was spoken is stored before the job knows
of it, so that a crash in between does not pay twice; where the store cannot take it, it stays in
memory until it can.
"""

import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from service.domain.attempt import ArtifactStore, AttemptFailed, Failure, FailureKind, speech_keys
from service.domain.avatar import MAX_AUDIO_SECONDS, AvatarRequest
from service.domain.clock import Clock
from service.domain.errors import StorageFull, Unavailable
from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobState
from service.domain.price import Charge
from service.domain.retry import speech_wait
from service.domain.speech import JobSpeech, SpeechUsage
from service.failpoint import failpoint
from service.lifecycle.inputs import delete_inputs
from service.speech.base import ProviderBusy, Spoken, UnusableSpeech, Voice, paid_usage
from service.speech.recording import Recording, SpeechFacts, find_speech, store_facts, store_speech
from service.store import jobs, moves, speeches
from service.store.database import Database
from service.store.speeches import Due
from service.store.transaction import Transaction

log = logging.getLogger(__name__)

# When a try counts as lost: longer than a provider or a program may take (service/speech).
_TRY_TIME = timedelta(minutes=10)

# Raised by a store of artifacts that is full or away.
_STORAGE_FAULTS = (Unavailable, StorageFull, OSError)

# Finds a voice for the jobs of a key; None: the first of the service. Raises AttemptFailed.
FindVoice = Callable[[str | None, KeyId], Voice]


@dataclass(frozen=True)
class SpeechMaker:
    """Speaks the text of one job at a time in each thread that calls it."""

    db: Database
    artifacts: ArtifactStore
    find_voice: FindVoice
    scratch: Path
    clock: Clock
    sleep: Callable[[float], None] = time.sleep

    def due(
        self, busy_keys: Collection[KeyId], size: int, *, by_provider: bool | None = None
    ) -> list[Due]:
        """List jobs that wait for their speech, of other keys than these; see speeches.due."""
        now = self.clock()
        return self.db.read(
            lambda tx: speeches.due(
                tx, now, busy_keys=busy_keys, size=size, by_provider=by_provider
            )
        )

    def speak(self, job_id: JobId) -> Job | None:
        """Speak the text of a job, or find that it was spoken, and return the job: ready for a
        worker, to be tried again later, or failed. None if it has changed meanwhile.

        Raises Unavailable without a database: the try is lost then, but not the speech.
        """
        now = self.clock()
        job = self.db.write(
            lambda tx: speeches.take(tx, job_id, now, until=now + _TRY_TIME)
        ).result()
        if job is None:
            return None
        try:
            recording, speaker = self._record(job)
        except AttemptFailed as failure:
            return self._fail(job, failure)
        except _STORAGE_FAULTS as fault:
            return self._fail(job, _storage_failure(fault))
        except Exception as fault:
            log.error("speech failed by a bug", exc_info=fault, extra={"job": job.id})
            return self._fail(job, _BUG)
        failpoint("speech.kept")
        return self._finish(job, recording, speaker)

    def _record(self, job: Job) -> tuple[Recording, Voice | None]:
        """Return the speech of a job, and the voice that spoke it now: None if it was stored by an
        earlier try, or is that of the job that this one retries."""
        assert isinstance(job.request, AvatarRequest), "only avatars have a text to be spoken"
        voice = self.find_voice(job.request.voice, job.key_id)
        recording = find_speech(self.artifacts, job.id)
        if recording is not None:
            return recording, None
        self.scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="speech-", dir=self.scratch) as folder:
            recording = self._copy_earlier(job, job.request, Path(folder))
            if recording is not None:
                return recording, None
            return self._speak(job, job.request, voice, Path(folder)), voice

    def _speak(self, job: Job, request: AvatarRequest, voice: Voice, scratch: Path) -> Recording:
        assert request.text is not None, "an avatar has a text or a recording"
        speech = voice.speak(
            request.text,
            seed=request.seed,
            speed=request.speed,
            is_wanted=lambda: self._is_waiting(job),
        )
        usage = SpeechUsage(
            provider=voice.info.provider, characters=speech.characters, usd=speech.cost_usd
        )
        _check_length(speech, usage)
        return self._store(job, speech, usage, scratch)

    def _store(self, job: Job, speech: Spoken, usage: SpeechUsage, scratch: Path) -> Recording:
        """Store what was spoken. Where that fails, what it cost is booked at once, and the sound is
        kept for as long as a text is tried again: it is not to be paid for once more.

        No other text of this thread is spoken meanwhile, which could not be stored either.
        """
        while True:
            try:
                return store_speech(self.artifacts, job.id, speech, usage, scratch)
            except _STORAGE_FAULTS as fault:
                failure = _storage_failure(fault)
            except Exception:
                self._pay(job, usage)
                raise
            now = self.clock()
            wait = speech_wait(job, failure.kind, now)
            until = now + (wait or timedelta(0)) + _TRY_TIME
            with suppress(Unavailable):  # it is booked after the next try
                waiting = self.db.write(
                    partial(_keep_try, job, usage, until, failure, now)
                ).result()
                if waiting is None:
                    raise failure
                job, usage = waiting, _nothing(usage.provider)
            if wait is None:
                raise failure
            self.sleep(wait.total_seconds())

    def _pay(self, job: Job, usage: SpeechUsage) -> None:
        now = self.clock()
        self.db.write(lambda tx: moves.pay_for_speech(tx, job, usage, now=now)).result()

    def _is_waiting(self, job: Job) -> bool:
        """Tell whether a job still waits for its speech; without a database it may."""
        try:
            return _is_unspoken(self.db.read(lambda tx: jobs.get(tx, job.id)))
        except Unavailable:
            return True

    def _copy_earlier(self, job: Job, request: AvatarRequest, scratch: Path) -> Recording | None:
        """Copy the speech of the job that this one retries, if it is of the same text and voice; it
        was paid for there. Raises ProviderBusy while that is being spoken."""
        earlier_id = job.retry_of
        if earlier_id is None:
            return None
        earlier = self.db.read(lambda tx: jobs.get(tx, earlier_id))
        if earlier is None or not _says_the_same(earlier, request):
            return None
        recording = find_speech(self.artifacts, earlier_id)
        if recording is None:
            if _is_being_spoken(earlier, self.clock()):
                message = f"the same text is being spoken for {earlier_id}"
                raise ProviderBusy("voice_provider_busy", message)
            return None
        (source, _), (target, _) = speech_keys(earlier_id), speech_keys(job.id)
        if not self.artifacts.copy(source, target):
            return None
        usage = _nothing(recording.facts.usage.provider)
        facts = SpeechFacts(**{**dict(recording.facts), "usage": usage})
        return store_facts(self.artifacts, job.id, facts, scratch)

    def _finish(self, job: Job, recording: Recording, speaker: Voice | None) -> Job | None:
        usage = recording.facts.usage
        quota = None if speaker is None else speaker.quota()
        now = self.clock()

        def finish(tx: Transaction) -> Job | None:
            current = _waiting(tx, job)
            if speaker is not None or current is not None:
                total = moves.pay_for_speech(tx, job, usage, now=now)
            if current is None:
                speeches.release(tx, job.id)
                return None
            speech = JobSpeech(**dict(total), quota=quota)
            return moves.finish_speech(tx, current, speech, size_bytes=recording.size_bytes)

        after = self.db.write(finish).result()
        if after is None and self.db.read(lambda tx: jobs.get(tx, job.id)) is None:
            delete_inputs(self.artifacts, job.id)  # the job was deleted meanwhile
        log.info(
            "text spoken",
            extra={
                "job": job.id,
                "provider": usage.provider,
                "characters": usage.characters or None,
            },
        )
        return after

    def _fail(self, job: Job, failure: AttemptFailed) -> Job | None:
        now = self.clock()
        hint = failure.retry_after if isinstance(failure, ProviderBusy) else None
        usage = paid_usage(failure)

        def fail(tx: Transaction) -> Job | None:
            if usage is not None:
                moves.pay_for_speech(tx, job, usage, now=now)
            current = _waiting(tx, job)
            if current is None:
                speeches.release(tx, job.id)
                return None
            wait = speech_wait(current, failure.kind, now, timedelta(seconds=hint or 0))
            # Speech of no use was paid for in an earlier try, too.
            is_paid_again = usage is not None and job.speech is not None
            if wait is None or is_paid_again:
                speeches.release(tx, job.id)
                return moves.fail(tx, current, _to_failure(failure), charge=Charge(now))
            return _postpone(tx, current, now + wait, failure)

        after = self.db.write(fail).result()
        if after is not None:
            state, code = after.state, failure.code
            log.warning(
                "text not spoken",
                extra={"job": job.id, "code": code, "state": state, "kind": failure.kind},
            )
        return after


def _keep_try(
    job: Job,
    usage: SpeechUsage,
    until: datetime,
    failure: AttemptFailed,
    now: datetime,
    tx: Transaction,
) -> Job | None:
    """Book what a try has cost, and let it go on until then; None if the job waits no more."""
    moves.pay_for_speech(tx, job, usage, now=now)
    current = _waiting(tx, job)
    return current and _postpone(tx, current, until, failure)


def _postpone(tx: Transaction, job: Job, until: datetime, failure: AttemptFailed) -> Job:
    reason = f"waits for its voice: {failure.message}"
    return moves.postpone_speech(tx, job, until=until, reason=reason)


def _waiting(tx: Transaction, job: Job) -> Job | None:
    """Return the job as it is now, locked, if it still waits for its speech."""
    current = jobs.get_for_update(tx, job.id)
    return current if _is_unspoken(current) else None


def _is_unspoken(job: Job | None) -> bool:
    return job is not None and job.state is JobState.QUEUED and job.speech_at is not None


def _is_being_spoken(job: Job, now: datetime) -> bool:
    """Tell whether a job that is final was ended while a try of its text was going on. It keeps
    `speech_at` until that ends; one that waited for its provider has a reason."""
    return job.speech_at is not None and job.speech_at > now and job.stage_detail is None


def _check_length(speech: Spoken, usage: SpeechUsage) -> None:
    if speech.seconds > MAX_AUDIO_SECONDS:
        message = (
            f"the text takes {speech.seconds:.0f} s to speak, and at most {MAX_AUDIO_SECONDS:g} s "
            "are possible; send a shorter one, or a higher speed"
        )
        raise UnusableSpeech("text_too_long", message, usage, FailureKind.USER)


def _nothing(provider: str) -> SpeechUsage:
    """Return the use of speech that was paid for before."""
    return SpeechUsage(provider=provider, characters=0, usd=0.0)


def _says_the_same(earlier: Job, request: AvatarRequest) -> bool:
    names = ("text", "voice", "speed", "seed")
    return earlier.request.needs_speech and all(
        getattr(earlier.request, name) == getattr(request, name) for name in names
    )


def _to_failure(failure: AttemptFailed) -> Failure:
    return Failure(
        kind=failure.kind, code=failure.code, message=failure.message[:2000], of_model=False
    )


def _storage_failure(fault: Exception) -> AttemptFailed:
    log.warning("speech could not be stored", extra={"error": fault})
    message = "what was spoken cannot be stored now"
    return AttemptFailed(FailureKind.MACHINE, "storage_unavailable", message, of_model=False)


_BUG = AttemptFailed(
    FailureKind.INTERNAL, "speech_error", "the text could not be spoken; the service's log says why"
)
