"""Jobs that are carried out by calls: start them, ask how they stand, and end them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.domain.artifact import job_folder, lone_fence, lone_prefix
from service.domain.attempt import Failure, FailureKind
from service.domain.call import CallEnd, Look
from service.domain.errors import Busy, Unavailable
from service.domain.job import Job, JobState
from service.domain.models.card import ModelCard
from service.domain.ports import ArtifactStore, Dispatcher
from service.domain.terms import Terms
from service.lifecycle import claim
from service.lifecycle.calls.cancellations import Cancellations
from service.lifecycle.find import move_if_unchanged
from service.lifecycle.report import adopt, is_foreign
from service.lifecycle.settle import give_back, lapse, pass_over, settle
from service.lifecycle.verify import finished_outcome, is_whole
from service.log import Log
from service.store import attempts, jobs, leases, moves
from service.store.attempts import Attempt
from service.store.database import Database
from service.store.transaction import Transaction

log = Log(__name__)

# How long a platform that did not do what it was asked is left alone, where calls are given that
# long to say something: shorter than the longest wait of a job (service/domain/retry.py).
_MAX_PAUSE = timedelta(seconds=30)


@dataclass
class Calls:
    """The ticks of a service whose workers are called. `api_url` is where they report, where it is
    not known from the job's submit; `most` is how many calls of a model may be open."""

    db: Database
    dispatcher: Dispatcher
    artifacts: ArtifactStore
    cards: dict[str, ModelCard]
    terms: Terms
    max_active_per_key: int
    most: int
    api_url: str | None
    # How long a call may say nothing before it is asked, which costs one request.
    patience: timedelta = timedelta(seconds=30)
    # How long from its start until its worker begins: a GPU is found, the model loaded.
    start_within: timedelta = timedelta(minutes=10)
    stops: Cancellations = field(init=False)

    def __post_init__(self) -> None:
        self._pause = min(self.patience, _MAX_PAUSE)
        self.stops = Cancellations(self.db, self.dispatcher, self._pause)

    def tick(self, now: datetime) -> None:
        """End what nobody waits for, which needs no database; and start what is due."""
        self.stops.repeat_cancels(now)
        self.send_some(now)

    def send_some(self, now: datetime) -> int:
        """Start calls for what is due, as far as there is room; how many were started."""
        return sum(self._send_some_of(model, now) for model in self.cards)

    def _send_some_of(self, model: str, now: datetime) -> int:
        """Where one cannot be started, another model's Cls may be there."""
        sent = 0
        try:
            while (claimed := self._claim(model, now)) is not None and self._send(claimed, now):
                sent += 1
        except Busy as error:
            log.warning("calls cannot be started yet", model=model, error=error)
        return sent

    def look(self, job: Job, now: datetime) -> Job | None:
        """What has become of a silent job's call; the job as it is now, or None where nobody
        knows more. Raises Unavailable when the call cannot be asked."""
        attempt = self._attempt(job)
        if attempt is None or attempt.call_id is None:
            return None
        call_id = attempt.call_id
        look = self.dispatcher.look(call_id)
        log.info("call looked at", job=job.id, attempt=job.attempt, call=call_id, found=_word(look))
        if look in ("died", "timed out", "unknown"):
            look = self._left_behind(job, call_id) or look
        elif isinstance(look, CallEnd) and self._is_damaged(job, call_id, look):
            look = "died"
        if look == "alive" and job.state is JobState.STARTING:
            within = self._start_within(job, attempt, now)
            return self._await_begin(job, call_id, attempt.created_at + within, now)
        return self._write(job, lambda tx, held: self._judge(tx, held, call_id, look, now))

    def stop(self, job: Job, now: datetime) -> None:
        """Nobody waits for this job's call any more."""
        attempt = self._attempt(job)
        if attempt is not None and attempt.call_id is not None:
            self.stops.stop(attempt.call_id, now)

    def _attempt(self, job: Job) -> Attempt | None:
        return self.db.read(lambda tx: attempts.get(tx, job.id, job.attempt))

    def _claim(self, model: str, now: datetime) -> claim.Claim | None:
        """Look first: the writer is bothered only when there is room, and something to take."""
        due = self.db.read(
            lambda tx: (
                self._room(tx, model)
                and jobs.candidates(tx, [model], now, limit=self.max_active_per_key)
            )
        )
        return self.db.write(lambda tx: self._take(tx, model, now)).result() if due else None

    def _room(self, tx: Transaction, model: str) -> bool:
        return jobs.count_active(tx, model) < self.most

    def _take(self, tx: Transaction, model: str, now: datetime) -> claim.Claim | None:
        # Alone until this claim is committed, which others are to count. Whoever is before us goes
        # on as long as there is room.
        if not leases.alone(tx, f"calls:{model}") or not self._room(tx, model):
            return None
        return claim.claim(
            tx,
            [model],
            worker="call",
            lease=self.patience,
            max_active=self.max_active_per_key,
            now=now,
        )

    def _send(self, claimed: claim.Claim, now: datetime) -> bool:
        """Committed first, then sent: a crash in between costs a lease, and never a generation."""
        job = claimed.job
        card = self.cards[job.request.model]
        ticket = claimed.ticket(card, self.api_url or job.api_url or "")
        try:
            call_id = self.dispatcher.send(ticket)
        except Unavailable as error:
            # Not one of the starts that count: a platform that is away is not the job's fault.
            log.warning("call could not be started", job=job.id, error=error)
            terms, wait = self.terms, self._pause
            self._write(job, lambda tx, held: give_back(tx, held, terms, now, wait=wait))
            return False
        log.info("call started", job=job.id, attempt=job.attempt, call=call_id)
        self.db.write(lambda tx: attempts.note_call(tx, job, call_id)).result()
        return True

    def put_off(self, job: Job, now: datetime) -> Job | None:
        """The call of a silent job could not be asked or judged, which may last, or be so of this
        one alone: a start is given as long as one that works unheard, and not its model's place for
        ever."""
        attempt = self._attempt(job)
        if job.state is JobState.STARTING and attempt is not None and attempt.call_id is not None:
            until = attempt.created_at + self._unheard_within(job)
            return self._await_begin(job, attempt.call_id, until, now)
        return self._wait_on(job, now)

    def _await_begin(self, job: Job, call_id: str, until: datetime, now: datetime) -> Job | None:
        """A start that has not begun: it waits for a GPU, loads, dies and is started again by its
        platform for ever, or works and cannot reach us."""
        if job.start_deadline_at is not None and job.start_deadline_at < now:
            self.stops.stop(call_id, now)
            return self._write(job, lambda tx, held: pass_over(tx, held, self.terms, now))
        if now > until:
            self.stops.stop(call_id, now)
            return self._write(job, lambda tx, held: lapse(tx, held, self.terms, now))
        return self._wait_on(job, now)

    def _start_within(self, job: Job, attempt: Attempt, now: datetime) -> timedelta:
        """How long this start may take: longer where it left a sign that somebody is at work."""
        late = now - attempt.created_at > self.start_within
        prefix = lone_prefix(job.id, job.fence, attempt.call_id or "")
        if late and self.artifacts.children(prefix):
            return self._unheard_within(job)
        return self.start_within

    def _unheard_within(self, job: Job) -> timedelta:
        return self.start_within + timedelta(seconds=job.timeout_seconds)

    def _wait_on(self, job: Job, now: datetime) -> Job | None:
        return self._write(
            job, lambda tx, held: moves.wait_on(tx, held, now=now, lease=self.patience)
        )

    def _left_behind(self, job: Job, call_id: str) -> CallEnd | None:
        """What a call would have answered that has no answer, from the bytes that it left."""
        places = [
            (fence, False, lone_prefix(job.id, fence, call_id))
            for fence in self._lone_fences(job, call_id)
        ]
        if job.state is JobState.RUNNING:
            # Its begin was heard; whether it knows that is open.
            places.insert(0, (job.fence, True, job.artifact_prefix))
        for fence, begun, prefix in places:
            outcome = finished_outcome(self.artifacts, job, prefix)
            if outcome is not None:
                return CallEnd(
                    job_id=job.id, attempt=job.attempt, fence=fence, begun=begun, outcome=outcome
                )
        return None

    def _is_damaged(self, job: Job, call_id: str, end: CallEnd) -> bool:
        """Whether it answers with a video of which other bytes are kept, or none."""
        outcome = end.outcome
        if outcome is None or is_foreign(job, call_id, outcome, end):
            return False
        return not is_whole(self.artifacts, outcome)

    def _lone_fences(self, job: Job, call_id: str) -> list[int]:
        """Under which fences this call worked unheard. Each begin of it moves the job's fence on,
        from that of the ticket which its containers share."""
        names = self.artifacts.children(job_folder(job.id))
        found = (lone_fence(name, call_id) for name in names)
        return [fence for fence in found if fence is not None]

    def _judge(
        self, tx: Transaction, job: Job, call_id: str, look: Look, now: datetime
    ) -> Job | None:
        if isinstance(look, CallEnd):
            return adopt(tx, job, call_id, look, terms=self.terms, now=now)
        if look == "alive":
            return moves.wait_on(tx, job, now=now, lease=self.patience)
        if look == "timed out":
            return settle(tx, job, _TIMED_OUT, self.terms, now)
        if look == "unknown" and job.state is JobState.RUNNING:
            return settle(tx, job, _RESULT_LOST, self.terms, now, again=False)
        return None  # a worker that was lost, or a start that lapsed

    def _write(self, job: Job, work: Callable[[Transaction, Job], Job | None]) -> Job | None:
        return move_if_unchanged(self.db, job, work)


def _word(look: Look) -> str:
    return "ended" if isinstance(look, CallEnd) else look


_TIMED_OUT = Failure(
    kind=FailureKind.TIMEOUT, code="timeout", message="the call ran into its platform's timeout"
)
_RESULT_LOST = Failure(
    kind=FailureKind.LOST,
    code="result_lost",
    message="the platform keeps no answer of the call any more, and there is no clip",
)
