"""Texts are spoken before a worker gets their jobs, and each is paid for once."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from service import failpoint
from service.api.schemas.costs import Cost
from service.artifacts.files import Files
from service.domain.attempt import AttemptFailed, Failure, FailureKind, speech_keys
from service.domain.avatar import AvatarRequest
from service.domain.errors import StorageFull
from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobState, Scope
from service.domain.limits import Limits
from service.domain.media import MediaRef
from service.domain.retry import MAX_SPEECH_WAIT
from service.domain.speech import JobSpeech, Phone, SpeechQuota, SpeechUsage, Word
from service.lifecycle.jobs import remove, request_cancel
from service.lifecycle.report import settle
from service.lifecycle.speech import SpeechMaker
from service.speech.base import (
    InformedVoice,
    ProviderBusy,
    Spoken,
    UnusableSpeech,
    Voice,
    VoiceInfo,
    provider_failure,
    text_failure,
)
from service.speech.elevenlabs_api import Account
from service.speech.recording import find_speech
from service.store import jobs, keys, speeches
from service.store.database import Database
from service.store.keys import Total
from tests import make
from tests.make import submit
from tests.speech.provider import KEY

SPOKEN = Spoken(
    b"\x01\x02" * 800,
    8000,
    (Word("Hello.", 0.0, 0.1),),
    (Phone(0.0, 0.1, "h"),),
    characters=6,
    cost_usd=0.0006,
)


class Parrot(InformedVoice):
    """A voice of a provider that says what it is told to, or fails as it is told to."""

    def __init__(self) -> None:
        info = VoiceInfo(id="elevenlabs-parrot", name="", language="", provider="elevenlabs")
        super().__init__(info)
        self.texts: list[str] = []
        self.wanted: list[bool] = []
        self.spoken = SPOKEN
        self.failures: list[Exception] = []
        self.meanwhile: Any = lambda: None

    def quota(self) -> SpeechQuota:
        return SpeechQuota(used=len(self.texts), limit=10)

    def speak(
        self, text: str, *, seed: int, speed: float, is_wanted: Callable[[], bool] | None = None
    ) -> Spoken:
        assert is_wanted is not None
        self.texts.append(text)
        self.wanted.append(is_wanted())
        self.meanwhile()
        self.wanted.append(is_wanted())
        if self.failures:
            raise self.failures.pop(0)
        return self.spoken


@dataclass
class Stage:
    """A service without its API, whose only voice is a parrot."""

    db: Database
    key_id: KeyId
    clock: make.FakeClock
    artifacts: Files
    scratch: Path
    voice: Parrot = field(default_factory=Parrot)
    asleep: Callable[[], object] = lambda: None

    @property
    def maker(self) -> SpeechMaker:
        return SpeechMaker(self.db, self.artifacts, self.find, self.scratch, self.clock, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.asleep()
        self.clock.advance(seconds)

    def find(self, voice_id: str | None, key_id: KeyId) -> Voice:
        if voice_id == "gone":
            raise text_failure("voice_unknown", "there is no voice 'gone'")
        return self.voice

    def submit(self, **changes: Any) -> Job:
        retry_of = changes.pop("retry_of", None)
        request = AvatarRequest(
            model="slate", prompt="", width=256, height=256, num_frames=None, fps=25, seed=3,
            text="Hello.", reference_image=MediaRef(source="upload"),
        ).model_copy(update=changes)  # fmt: skip
        asked = make.submission(self.key_id, request=request, retry_of=retry_of)
        accepted = make.do(self.db, lambda tx: submit(tx, asked, Limits(), self.clock()))
        job: Job = accepted.job
        return job

    def job(self, job: Job) -> Job:
        found = self.db.read(lambda tx: jobs.get(tx, job.id))
        assert found is not None
        return found

    def due(self) -> list[JobId]:
        return [each.id for each in self.maker.due((), 9)]


def assert_paid(job: Job, usd: float) -> None:
    assert job.speech is not None
    assert (job.speech.usd, job.actual_usd) == (pytest.approx(usd), pytest.approx(usd))


@pytest.fixture
def stage(db: Database, key_id: KeyId, clock: make.FakeClock, tmp_path: Path) -> Stage:
    return Stage(db, key_id, clock, Files(tmp_path / "artifacts"), tmp_path / "scratch")


def test_a_job_is_claimed_once_its_text_was_spoken(stage: Stage) -> None:
    job = stage.submit()
    assert make.claim(stage.db, stage.clock()) is None
    assert stage.due() == [job.id]

    after = stage.maker.speak(job.id)

    assert after is not None
    assert (after.state, after.speech_at) == (JobState.QUEUED, None)
    assert make.claim(stage.db, stage.clock()).job.id == job.id
    recording = find_speech(stage.artifacts, job.id)
    assert recording is not None
    assert (recording.facts.words, recording.facts.phones) == (SPOKEN.words, SPOKEN.phones)
    assert recording.file.read_bytes()[44:] == SPOKEN.samples
    assert list(stage.scratch.iterdir()) == []


def test_a_recording_needs_no_speech(stage: Stage) -> None:
    job = stage.submit(text=None, audio=MediaRef(source="upload"))

    assert stage.due() == []
    assert make.claim(stage.db, stage.clock()).job.id == job.id


def test_speech_costs_its_job_its_key_and_shows_in_the_ledger(stage: Stage) -> None:
    job = stage.submit()
    stage.maker.speak(job.id)

    after = stage.job(job)
    assert after.speech is not None
    usage = {"provider": "elevenlabs", "characters": 6, "usd": 0.0006}
    assert after.speech.model_dump(exclude={"quota"}) == usage
    assert after.speech.quota == SpeechQuota(used=1, limit=10)  # afterwards
    assert Cost(estimated_usd=0, speech=after.speech).model_dump()["speech"] == usage
    assert after.actual_usd == pytest.approx(0.0006)
    month = stage.clock().year * 12 + stage.clock().month
    assert stage.db.read(lambda tx: keys.balance(tx, stage.key_id, month)).spent == 600
    day = (date(2026, 1, 1), date(2026, 12, 31))
    assert stage.db.read(lambda tx: keys.totals(tx, "model", *day, key_id=stage.key_id)) == [
        Total("elevenlabs", jobs=0, gpu_ms=0, microusd=600)
    ]
    # The bytes count as inputs of the key until they are deleted.
    size = stage.artifacts.path(speech_keys(job.id)[0]).stat().st_size  # type: ignore[union-attr]
    assert stage.db.read(lambda tx: jobs.input_bytes(tx, stage.key_id)) == size


def test_a_busy_provider_keeps_its_job_waiting_and_takes_no_attempt(stage: Stage) -> None:
    job, other = stage.submit(), stage.submit()
    stage.voice.failures = [ProviderBusy("voice_provider_busy", "ElevenLabs answers 429", 90.0)]

    stage.maker.speak(job.id)
    stage.maker.speak(other.id)

    waiting = stage.job(job)
    assert (waiting.state, waiting.attempt, waiting.speech_tries) == (JobState.QUEUED, 0, 1)
    assert waiting.stage_detail == "waits for its voice: ElevenLabs answers 429"
    assert waiting.speech_at == stage.clock() + timedelta(seconds=90)
    assert make.claim(stage.db, stage.clock()).job.id == other.id
    stage.clock.advance(89)
    assert stage.due() == []
    stage.clock.advance(1)
    assert stage.due() == [job.id]
    stage.maker.speak(job.id)
    ready = stage.job(job)
    assert (ready.speech_at, ready.stage_detail) == (None, None)
    assert len(stage.voice.texts) == 3


def test_without_a_hint_the_waits_grow(stage: Stage) -> None:
    job = stage.submit()
    waits = []

    for _ in range(5):
        stage.voice.failures = [ProviderBusy("voice_unreachable", "broke off")]
        stage.maker.speak(job.id)
        at = stage.job(job).speech_at
        assert at is not None
        waits.append((at - stage.clock()).total_seconds())
        stage.clock.now = at

    assert [low <= wait <= 2 * low for low, wait in zip((2, 4, 8, 16, 32), waits, strict=True)]
    assert waits == sorted(waits)


def test_after_an_hour_of_tries_the_job_fails_by_the_providers_reason(stage: Stage) -> None:
    job = stage.submit()
    started = stage.clock()

    while stage.job(job).state is JobState.QUEUED:
        stage.voice.failures = [ProviderBusy("voice_provider_busy", "answers 429: slow down", 600)]
        stage.maker.speak(job.id)
        stage.clock.now = stage.job(job).speech_at or stage.clock.now

    failed = stage.job(job)
    assert failed.error is not None
    assert (failed.error.kind, failed.error.code) == ("transient", "voice_provider_busy")
    assert failed.error.message == "answers 429: slow down"
    assert failed.error.retryable
    assert failed.attempt == 0
    assert stage.clock() - started >= MAX_SPEECH_WAIT


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (provider_failure("voice_key_refused", "ElevenLabs answers 401: no"), "internal"),
        (text_failure("voice_request_refused", "ElevenLabs answers 422: no"), "user"),
        (KeyError("a bug"), "internal"),
    ],
    ids=["401", "422", "bug"],
)
def test_what_waiting_cannot_help_fails_the_job_at_once(
    stage: Stage, failure: Exception, kind: str
) -> None:
    job = stage.submit()
    stage.voice.failures = [failure]

    stage.maker.speak(job.id)

    failed = stage.job(job)
    assert (failed.state, failed.attempt) == (JobState.FAILED, 0)
    assert failed.error is not None
    assert failed.error.kind == kind
    if isinstance(failure, AttemptFailed):
        assert (failed.error.code, failed.error.message) == (failure.code, failure.message)
    assert stage.due() == []


def test_speech_of_no_use_fails_its_job_and_is_paid(stage: Stage) -> None:
    job = stage.submit()
    usage = SpeechUsage(provider="elevenlabs", characters=12, usd=0.0012)
    stage.voice.failures = [UnusableSpeech("voice_response_invalid", "of no use", usage)]

    stage.maker.speak(job.id)

    failed = stage.job(job)
    assert failed.error is not None
    assert (failed.state, failed.error.code) == (JobState.FAILED, "voice_response_invalid")
    assert failed.actual_usd == pytest.approx(0.0012)
    assert failed.speech == JobSpeech(**dict(usage))
    assert stage.due() == []


def test_a_busy_provider_that_was_paid_is_asked_again(stage: Stage) -> None:
    """Its first response was of no use, and the second a 429."""
    job = stage.submit()
    usage = SpeechUsage(provider="elevenlabs", characters=6, usd=0.0006)
    stage.voice.failures = [ProviderBusy("voice_provider_busy", "answers 429", 9.0, usage)]

    stage.maker.speak(job.id)

    assert stage.job(job).state is JobState.QUEUED
    assert_paid(stage.job(job), 0.0006)
    stage.clock.advance(9)
    stage.maker.speak(job.id)
    assert stage.job(job).speech_at is None
    assert_paid(stage.job(job), 0.0012)


def test_a_provider_is_paid_for_speech_of_no_use_in_two_tries_at_most(stage: Stage) -> None:
    job = stage.submit()
    usage = SpeechUsage(provider="elevenlabs", characters=6, usd=0.0006)
    busy = [ProviderBusy("voice_provider_busy", "answers 429", 9.0, usage) for _ in range(9)]
    stage.voice.failures = list[Exception](busy)

    while stage.job(job).state is JobState.QUEUED:
        stage.maker.speak(job.id)
        stage.clock.advance(9)

    failed = stage.job(job)
    assert failed.error is not None
    assert (failed.error.code, failed.error.kind) == ("voice_provider_busy", "transient")
    assert_paid(failed, 0.0012)


def test_a_voice_that_is_gone_fails_the_job(stage: Stage) -> None:
    job = stage.submit(voice="gone")

    stage.maker.speak(job.id)

    failed = stage.job(job)
    assert failed.error is not None
    assert failed.error.code == "voice_unknown"
    assert stage.voice.texts == []


def test_speech_of_a_process_that_died_is_found_and_paid_once(stage: Stage) -> None:
    """It was stored, and its job does not know."""
    job = stage.submit()

    def die() -> None:
        raise KeyboardInterrupt

    maker = stage.maker
    failpoint.arm("speech.kept", die)
    try:
        with pytest.raises(KeyboardInterrupt):
            maker.speak(job.id)
    finally:
        failpoint._actions.clear()
    assert stage.due() == []  # the try may be going on
    stage.clock.advance(600)
    assert stage.due() == [job.id]

    stage.maker.speak(job.id)

    assert stage.voice.texts == ["Hello."]
    assert stage.job(job).speech_at is None
    assert stage.job(job).actual_usd == pytest.approx(0.0006)


def test_a_restart_need_not_wait_for_the_try_of_the_process_before(stage: Stage) -> None:
    job = stage.submit()
    stage.db.write(
        lambda tx: speeches.take(
            tx, job.id, stage.clock(), until=stage.clock() + timedelta(minutes=5)
        )
    ).result()
    assert stage.due() == []

    make.do(stage.db, lambda tx: speeches.make_all_due(tx, stage.clock()))

    assert stage.due() == [job.id]


def test_a_text_that_took_too_long_to_speak_fails_by_the_text(stage: Stage) -> None:
    """It is paid for, and no worker is asked for a video of it."""
    job = stage.submit()
    stage.voice.spoken = replace(SPOKEN, samples=b"\x01\x02" * 601, rate=1)

    stage.maker.speak(job.id)

    failed = stage.job(job)
    assert failed.error is not None
    assert (failed.error.kind, failed.error.code) == ("user", "text_too_long")
    assert "the text takes 601 s to speak, and at most 600 s are possible" in failed.error.message
    assert failed.actual_usd == pytest.approx(0.0006)
    assert find_speech(stage.artifacts, job.id) is None


def test_two_tries_at_once_are_one(stage: Stage) -> None:
    job = stage.submit()

    stage.voice.meanwhile = lambda: taken.append(stage.maker.speak(job.id))
    taken: list[Job | None] = []
    stage.maker.speak(job.id)

    assert taken == [None]
    assert stage.voice.texts == ["Hello."]


def test_a_try_lasts_longer_than_a_provider_may_take(stage: Stage) -> None:
    """Of two requests each ends within the account's time, or as long after its response began."""
    job = stage.submit()
    taken: list[Job | None] = []

    def wait() -> None:
        stage.clock.advance(4 * Account(KEY, 0.0).max_time.total_seconds())
        taken.append(stage.maker.speak(job.id))

    stage.voice.meanwhile = wait
    stage.maker.speak(job.id)

    assert taken == [None]
    assert stage.voice.texts == ["Hello."]


def test_a_job_that_is_canceled_while_it_is_spoken_stays_so_and_pays(stage: Stage) -> None:
    job = stage.submit()
    stage.voice.meanwhile = lambda: make.do(
        stage.db, lambda tx: request_cancel(tx, job.id, Scope(stage.key_id), stage.clock())
    )

    assert stage.maker.speak(job.id) is None

    canceled = stage.job(job)
    assert canceled.state is JobState.CANCELED
    assert canceled.actual_usd == pytest.approx(0.0006)
    assert stage.voice.wanted == [True, False]


def test_a_job_that_is_deleted_while_it_is_spoken_wants_no_speech(stage: Stage) -> None:
    job = stage.submit()
    scope = Scope(stage.key_id)

    def delete() -> None:
        make.do(stage.db, lambda tx: request_cancel(tx, job.id, scope, stage.clock()))
        make.do(stage.db, lambda tx: jobs.delete(tx, stage.job(job)))

    stage.voice.meanwhile = delete

    assert stage.maker.speak(job.id) is None

    assert stage.voice.wanted == [True, False]


def test_speech_of_a_job_that_is_deleted_meanwhile_is_deleted_too(stage: Stage) -> None:
    job = stage.submit()

    def delete() -> None:
        cancel(stage, job)
        remove(stage.db, stage.artifacts, job.id, Scope(stage.key_id))

    stage.voice.meanwhile = delete

    assert stage.maker.speak(job.id) is None

    assert find_speech(stage.artifacts, job.id) is None
    assert stage.artifacts.children("inputs") == []


class Full(Files):
    """A store that fails for its first `num_puts` files: it has no space for them."""

    def __init__(self, files: Files, num_puts: int, fault: Exception | None = None) -> None:
        super().__init__(files._root)
        self.num_left = num_puts
        self.fault = fault or StorageFull("no space")

    def put(self, key: str, source: Path, media_type: str) -> Any:
        self.num_left -= 1
        if self.num_left >= 0:
            raise self.fault
        return super().put(key, source, media_type)


@pytest.mark.parametrize("num_puts", [1, 20])
def test_a_full_store_gets_what_was_spoken_once_it_has_space(stage: Stage, num_puts: int) -> None:
    """The text is paid for once, and its job tells what it waits for."""
    job = stage.submit()
    stage.artifacts = Full(stage.artifacts, num_puts)
    details: list[str | None] = []
    stage.asleep = lambda: details.append(stage.job(job).stage_detail)

    stage.maker.speak(job.id)

    assert details == ["waits for its voice: what was spoken cannot be stored now"] * num_puts
    assert (stage.job(job).speech_at, stage.job(job).stage_detail) == (None, None)
    assert stage.voice.texts == ["Hello."]
    assert_paid(stage.job(job), 0.0006)
    assert find_speech(stage.artifacts, job.id) is not None


def test_a_store_that_is_full_for_an_hour_fails_the_job_after_one_request(stage: Stage) -> None:
    job = stage.submit()
    started = stage.clock()
    stage.artifacts = Full(stage.artifacts, 9999)
    due: list[JobId] = []
    stage.asleep = lambda: due.extend(stage.due())

    stage.maker.speak(job.id)

    failed = stage.job(job)
    assert failed.error is not None
    assert (failed.state, failed.error.code) == (JobState.FAILED, "storage_unavailable")
    assert stage.clock() - started >= MAX_SPEECH_WAIT
    assert (stage.voice.texts, due) == (["Hello."], [])
    assert_paid(failed, 0.0006)


def test_a_store_that_fails_by_a_bug_fails_the_job_which_is_paid(stage: Stage) -> None:
    job = stage.submit()
    stage.artifacts = Full(stage.artifacts, 1, KeyError("a bug"))

    stage.maker.speak(job.id)

    failed = stage.job(job)
    assert failed.error is not None
    assert failed.error.code == "speech_error"
    assert_paid(failed, 0.0006)


def test_a_crash_while_the_store_is_full_pays_once_more(stage: Stage) -> None:
    job = stage.submit()
    stage.artifacts = Full(stage.artifacts, 1)

    def die() -> None:
        raise KeyboardInterrupt

    stage.asleep = die
    with pytest.raises(KeyboardInterrupt):
        stage.maker.speak(job.id)
    stage.clock.advance(700)
    assert stage.due() == [job.id]
    stage.maker.speak(job.id)

    assert stage.voice.texts == ["Hello."] * 2
    assert stage.job(job).speech_at is None
    assert_paid(stage.job(job), 0.0012)


def test_a_full_store_keeps_no_speech_of_a_canceled_job(stage: Stage) -> None:
    job = stage.submit()
    stage.artifacts = Full(stage.artifacts, 9999)
    stage.asleep = lambda: cancel(stage, job)

    assert stage.maker.speak(job.id) is None

    assert stage.job(job).state is JobState.CANCELED
    assert_paid(stage.job(job), 0.0006)


def test_a_retry_of_the_same_text_pays_nothing(stage: Stage) -> None:
    first = stage.submit()
    stage.maker.speak(first.id)
    make.do(stage.db, lambda tx: request_cancel(tx, first.id, Scope(stage.key_id), stage.clock()))

    same = stage.submit(retry_of=first.id)
    other = stage.submit(retry_of=first.id, text="Good bye.")
    stage.maker.speak(same.id)
    stage.maker.speak(other.id)

    assert stage.voice.texts == ["Hello.", "Good bye."]
    assert stage.job(same).speech_at is None
    usage = stage.job(same).speech
    assert usage is not None
    assert (usage.characters, usage.usd) == (0, 0.0)
    recording = find_speech(stage.artifacts, same.id)
    assert recording is not None
    assert recording.facts.words == SPOKEN.words


def cancel(stage: Stage, job: Job) -> None:
    make.do(stage.db, lambda tx: request_cancel(tx, job.id, Scope(stage.key_id), stage.clock()))


@pytest.mark.parametrize("fails", [False, True], ids=["spoken", "failed"])
def test_a_retry_waits_for_the_same_text_that_is_being_spoken(stage: Stage, fails: bool) -> None:
    first = stage.submit()
    retries: list[Job] = []

    def cancel_and_retry() -> None:
        stage.voice.meanwhile = lambda: None
        cancel(stage, first)
        retries.append(stage.submit(retry_of=first.id))
        stage.maker.speak(retries[0].id)
        if fails:
            stage.voice.failures = [ProviderBusy("voice_unreachable", "broke off")]

    stage.voice.meanwhile = cancel_and_retry
    stage.maker.speak(first.id)

    (retry,) = retries
    reason = f"waits for its voice: the same text is being spoken for {first.id}"
    assert stage.job(retry).stage_detail == reason
    stage.clock.advance(60)
    stage.maker.speak(retry.id)

    assert (stage.job(retry).state, stage.job(retry).speech_at) == (JobState.QUEUED, None)
    assert stage.voice.texts == ["Hello."] * (2 if fails else 1)
    usage = stage.job(retry if fails else first).speech
    assert usage is not None
    assert usage.characters == 6
    assert stage.job(first).state is JobState.CANCELED


def test_a_retry_of_a_job_that_waited_for_its_voice_does_not_wait_too(stage: Stage) -> None:
    first = stage.submit()
    stage.voice.failures = [ProviderBusy("voice_provider_busy", "answers 429", 3000)]
    stage.maker.speak(first.id)
    cancel(stage, first)

    retry = stage.submit(retry_of=first.id)
    stage.maker.speak(retry.id)

    assert stage.job(retry).speech_at is None


@pytest.mark.parametrize(
    "changes", [{"text": "Bye."}, {"voice": "other"}, {"speed": 1.1}, {"seed": 4}], ids=str
)
def test_a_retry_of_other_speech_is_spoken_anew(stage: Stage, changes: dict[str, Any]) -> None:
    first = stage.submit()
    stage.maker.speak(first.id)
    cancel(stage, first)

    retry = stage.submit(retry_of=first.id, **changes)
    stage.maker.speak(retry.id)

    assert len(stage.voice.texts) == 2
    usage = stage.job(retry).speech
    assert usage is not None
    assert usage.characters == 6


def test_keys_that_are_served_already_leave_the_next_text_to_others(stage: Stage) -> None:
    mine = stage.submit()
    other_key = make.key(stage.db)[0]
    own, stage.key_id = stage.key_id, other_key
    theirs = stage.submit()

    assert stage.due() == [mine.id, theirs.id]
    assert [each.id for each in stage.maker.due([own], 9)] == [theirs.id]


def test_a_lost_attempt_finds_the_speech(stage: Stage) -> None:
    """The next worker speaks as the one before, and nobody pays again."""
    job = stage.submit()
    stage.maker.speak(job.id)
    begun = make.begin(stage.db, make.claim(stage.db, stage.clock()), stage.clock())
    lost = Failure(kind=FailureKind.LOST, code="worker_lost", message="fell silent")

    make.do(stage.db, lambda tx: settle(tx, begun, lost, make.TERMS, stage.clock()))

    assert stage.due() == []
    again = make.claim(stage.db, stage.clock()).job
    assert (again.id, again.attempt) == (job.id, 2)
    assert find_speech(stage.artifacts, job.id) is not None
    assert stage.voice.texts == ["Hello."]
