"""Jobs run by calls to a platform such as Modal: start, poll and cancel the calls, and settle a job
by what its call returned."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.domain.attempt import (
    ArtifactStore,
    Failure,
    FailureKind,
    Outcome,
    is_salted,
    job_folder,
    lone_fence,
    lone_prefix,
)
from service.domain.call import CallEnd, CallStatus, Dispatcher
from service.domain.errors import Busy, Unavailable
from service.domain.job import Job, JobState
from service.domain.models.card import ModelCard
from service.domain.terms import Terms
from service.lifecycle import claim
from service.lifecycle.calls.cancellations import Cancellations
from service.lifecycle.jobs import move_if_unchanged
from service.lifecycle.report import give_back, lapse, miss_start_deadline, settle, succeed
from service.lifecycle.verify import finished_outcome, is_intact, outcome_errors
from service.store import attempts, jobs, leases, moves
from service.store.attempts import Attempt
from service.store.database import Database
from service.store.transaction import Transaction

log = logging.getLogger(__name__)

# Upper limit of the pause after a platform failed to start or cancel a call: shorter than the
# longest wait of a job (service/domain/retry.py).
_MAX_PAUSE = timedelta(seconds=30)


@dataclass
class Calls:
    """The ticks of a service whose workers are called. `api_url` is where workers report if the job
    does not say; `max_calls` limits the open calls of each model."""

    db: Database
    dispatcher: Dispatcher
    artifacts: ArtifactStore
    cards: dict[str, ModelCard]
    terms: Terms
    max_active_per_key: int
    max_calls: int
    api_url: str | None
    # How long a call may be silent before it is polled, which costs one request.
    running_lease: timedelta = timedelta(seconds=30)
    # Limit from the start of a call until its worker begins, with a GPU and the model loaded.
    max_start: timedelta = timedelta(minutes=10)
    cancellations: Cancellations = field(init=False)

    def __post_init__(self) -> None:
        self._pause = min(self.running_lease, _MAX_PAUSE)
        self.cancellations = Cancellations(self.db, self.dispatcher, self._pause)

    def tick(self, now: datetime) -> None:
        """Repeat pending cancellations, which needs no database, and start due calls."""
        self.cancellations.repeat_cancels(now)
        self.start_due(now)

    def start_due(self, now: datetime) -> int:
        """Start calls for due jobs within the limit; return how many were started."""
        return sum(self._start_due_of(model, now) for model in self.cards)

    def _start_due_of(self, model: str, now: datetime) -> int:
        """Start the due calls of one model; Busy stops this model until the next tick."""
        count = 0
        try:
            while (new_claim := self._claim(model, now)) is not None and self._send(new_claim, now):
                count += 1
        except Busy as error:
            log.warning("calls cannot be started yet", extra={"model": model, "error": error})
        return count

    def check(self, job: Job, now: datetime) -> Job | None:
        """Poll the call of a silent job and settle the job by it; return the changed job, or None.

        Raises Unavailable if the call cannot be polled."""
        attempt = self._attempt(job)
        if attempt is None or attempt.call_id is None:
            return None
        call_id = attempt.call_id
        status = self.dispatcher.status(call_id)
        name = "ended" if isinstance(status, CallEnd) else status
        log.info(
            "call polled",
            extra={"job": job.id, "attempt": job.attempt, "call": call_id, "status": name},
        )
        if status in ("died", "timed out", "unknown"):
            status = self._stored_end(job, call_id) or status
        elif isinstance(status, CallEnd) and self._is_damaged(job, call_id, status):
            status = "died"
        if status == "alive" and job.state is JobState.STARTING:
            limit = self._start_limit(job, attempt, now)
            return self._await_begin(job, call_id, attempt.created_at + limit, now)
        return self._write(job, lambda tx, job: self._settle(tx, job, call_id, status, now))

    def warm_containers(self) -> dict[str, int]:
        """Return how many containers admins keep warm of served models, within the limit."""
        numbers = self.db.read(jobs.warm_containers)
        return {
            model: min(number, self.max_calls)
            for model, number in numbers.items()
            if model in self.cards
        }

    def stop(self, job: Job, now: datetime) -> None:
        """Cancel the call of this job."""
        attempt = self._attempt(job)
        if attempt is not None and attempt.call_id is not None:
            self.cancellations.stop(attempt.call_id, now)

    def _attempt(self, job: Job) -> Attempt | None:
        return self.db.read(lambda tx: attempts.get(tx, job.id, job.attempt))

    def _claim(self, model: str, now: datetime) -> claim.Claim | None:
        """Read first, so that the writer runs only if there is capacity and a due job."""
        due = self.db.read(
            lambda tx: (
                self._has_capacity(tx, model)
                and jobs.candidates(tx, [model], now, limit=self.max_active_per_key)
            )
        )
        return self.db.write(lambda tx: self._take(tx, model, now)).result() if due else None

    def _has_capacity(self, tx: Transaction, model: str) -> bool:
        return jobs.count_active(tx, model) < self.max_calls

    def _take(self, tx: Transaction, model: str, now: datetime) -> claim.Claim | None:
        # One process at a time, until this claim is committed and counted. The process that has the
        # lock goes on while there is capacity.
        if not leases.try_lock(tx, f"calls:{model}") or not self._has_capacity(tx, model):
            return None
        return claim.claim(
            tx,
            [model],
            worker="call",
            lease=self.running_lease,
            max_active=self.max_active_per_key,
            now=now,
        )

    def _send(self, new_claim: claim.Claim, now: datetime) -> bool:
        """Start the call of a committed claim: a crash before costs a lease, no generation."""
        job = new_claim.job
        card = self.cards[job.request.model]
        ticket = new_claim.ticket(card, self.api_url or job.api_url or "")
        try:
            call_id = self.dispatcher.send(ticket)
        except Unavailable as error:
            # Not counted as a start: an unavailable platform is not the job's fault.
            log.warning("call could not be started", extra={"job": job.id, "error": error})
            terms, wait = self.terms, self._pause
            self._write(job, lambda tx, job: give_back(tx, job, terms, now, wait=wait))
            return False
        log.info("call started", extra={"job": job.id, "attempt": job.attempt, "call": call_id})
        self.db.write(lambda tx: attempts.set_call_id(tx, job, call_id)).result()
        return True

    def defer(self, job: Job, now: datetime) -> Job | None:
        """Extend the lease of a silent job whose call could not be polled. A start is given as long
        as a worker that cannot report, so that it does not occupy capacity for ever."""
        attempt = self._attempt(job)
        if job.state is JobState.STARTING and attempt is not None and attempt.call_id is not None:
            until = attempt.created_at + self._unreported_limit(job)
            return self._await_begin(job, attempt.call_id, until, now)
        return self._extend_lease(job, now)

    def _await_begin(self, job: Job, call_id: str, until: datetime, now: datetime) -> Job | None:
        """Wait for a call that has not begun: it waits for a GPU, loads, is restarted in a loop by
        its platform, or works without reaching the service."""
        if job.start_deadline_at is not None and job.start_deadline_at < now:
            self.cancellations.stop(call_id, now)
            return self._write(job, lambda tx, job: miss_start_deadline(tx, job, self.terms, now))
        if now > until:
            self.cancellations.stop(call_id, now)
            return self._write(job, lambda tx, job: lapse(tx, job, self.terms, now))
        return self._extend_lease(job, now)

    def _start_limit(self, job: Job, attempt: Attempt, now: datetime) -> timedelta:
        """Return how long this start may take: longer if a worker left a sign that it began."""
        is_late = now - attempt.created_at > self.max_start
        prefix = lone_prefix(job.id, job.fence, attempt.call_id or "")
        if is_late and self.artifacts.children(prefix):
            return self._unreported_limit(job)
        return self.max_start

    def _unreported_limit(self, job: Job) -> timedelta:
        return self.max_start + timedelta(seconds=job.timeout_seconds)

    def _extend_lease(self, job: Job, now: datetime) -> Job | None:
        return self._write(
            job, lambda tx, job: moves.extend_lease(tx, job, now=now, lease=self.running_lease)
        )

    def _stored_end(self, job: Job, call_id: str) -> CallEnd | None:
        """Rebuild the return value of a call that has none, from its stored manifest."""
        places = [
            (fence, False, lone_prefix(job.id, fence, call_id))
            for fence in self._lone_fences(job, call_id)
        ]
        if job.state is JobState.RUNNING:
            # Its begin was received, perhaps without the worker knowing.
            places.insert(0, (job.fence, True, job.artifact_prefix))
        for fence, has_begun, prefix in places:
            outcome = finished_outcome(self.artifacts, job, prefix)
            if outcome is not None:
                return CallEnd(
                    job_id=job.id,
                    attempt=job.attempt,
                    fence=fence,
                    begun=has_begun,
                    outcome=outcome,
                )
        return None

    def _is_damaged(self, job: Job, call_id: str, end: CallEnd) -> bool:
        """Tell whether the stored bytes of the returned video are missing or differ."""
        outcome = end.outcome
        if outcome is None or _is_foreign(job, call_id, outcome, end):
            return False
        return not is_intact(self.artifacts, outcome)

    def _lone_fences(self, job: Job, call_id: str) -> list[int]:
        """List the fences under which this call worked without reaching the service."""
        names = self.artifacts.children(job_folder(job.id))
        fences = (lone_fence(name, call_id) for name in names)
        return [fence for fence in fences if fence is not None]

    def _settle(
        self, tx: Transaction, job: Job, call_id: str, status: CallStatus, now: datetime
    ) -> Job | None:
        if isinstance(status, CallEnd):
            return _adopt(tx, job, call_id, status, terms=self.terms, now=now)
        if status == "alive":
            return moves.extend_lease(tx, job, now=now, lease=self.running_lease)
        if status == "timed out":
            return settle(tx, job, _TIMED_OUT, self.terms, now)
        if status == "unknown" and job.state is JobState.RUNNING:
            return settle(tx, job, _RESULT_LOST, self.terms, now, again=False)
        return None  # left to the expired lease

    def _write(self, job: Job, work: Callable[[Transaction, Job], Job | None]) -> Job | None:
        return move_if_unchanged(self.db, job, work)


_TIMED_OUT = Failure(
    kind=FailureKind.TIMEOUT, code="timeout", message="the call exceeded its platform's timeout"
)
_RESULT_LOST = Failure(
    kind=FailureKind.LOST,
    code="result_lost",
    message="the platform no longer has the call's result, and there is no video",
)


def _adopt(
    tx: Transaction, job: Job, call_id: str, end: CallEnd, *, terms: Terms, now: datetime
) -> Job | None:
    """Settle the job by the return value of its call, in place of a report that did not arrive.

    None if that is not about the job's present attempt.
    """
    if not _concerns(job, end):
        return None
    if job.state is JobState.STARTING:
        # The worker could not reach the service to begin; its outcome counts all the same.
        job = moves.begin(tx, job, now=now, lease=timedelta(0))
    if end.failure is not None:
        return settle(tx, job, end.failure, terms, now)
    assert end.outcome is not None
    if _is_foreign(job, call_id, end.outcome, end):
        return settle(tx, job, _FOREIGN, terms, now)
    return succeed(tx, job, end.outcome, terms=terms, now=now)


def _is_foreign(job: Job, call_id: str, outcome: Outcome, end: CallEnd) -> bool:
    """Tell whether the outcome does not match the request, or lies outside the call's folder."""
    return bool(outcome_errors(job, outcome, _prefix(job, call_id, outcome, end)))


def _prefix(job: Job, call_id: str, outcome: Outcome, end: CallEnd) -> str:
    if not end.begun:
        return lone_prefix(job.id, end.fence, call_id)
    prefix = outcome.facts.video.key.rpartition("/")[0]
    # The salt that its begin returned is unknown if an older database was restored since.
    return prefix if is_salted(prefix, job.id, end.fence) else job.prefix_of(end.fence)


def _concerns(job: Job, end: CallEnd) -> bool:
    """Tell whether the return value of the job's call is about its present attempt.

    Each begin bumps the fence, and a worker whose begin was not confirmed works under its ticket's.
    A video counts under any fence. A failure counts only under the present one, since another
    container of the call may be at work.
    """
    return end.outcome is not None or (end.failure is not None and end.fence == job.fence)


_FOREIGN = Failure(
    kind=FailureKind.INTERNAL,
    code="foreign_result",
    message="the worker returned a video that is not this job's; see the worker's log",
)
