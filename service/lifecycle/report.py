"""Reports of workers: begin, progress, finish, fail, release; and how an attempt that they or
timeouts end is settled: what it costs, and whether its job is queued again. A stale fencing token
raises Lost."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from service.domain.attempt import Failure, FailureKind, Outcome, Progress
from service.domain.errors import Lost, NotFound, RequestRefused
from service.domain.ids import JobId
from service.domain.job import Job, JobState
from service.domain.key import matches
from service.domain.price import Charge, Rates
from service.domain.retry import MAX_LAPSED, MAX_RESTARTS, is_uncounted, retry_wait, step_down
from service.domain.terms import Terms
from service.lifecycle.verify import outcome_errors
from service.store import attempts, jobs, moves
from service.store.attempts import Attempt
from service.store.transaction import Transaction


@dataclass(frozen=True)
class Credentials:
    """The attempt that a report is about, and its worker's token."""

    job_id: JobId
    number: int
    token: str

    @property
    def attempt_id(self) -> str:
        return f"{self.job_id}.{self.number}"


class GpuTime(NamedTuple):
    """GPU seconds of an attempt as its worker measured them, and its GPU; None: not reported."""

    seconds: float | None = None
    gpu: str | None = None


_NOT_MEASURED = GpuTime()


def begin(
    tx: Transaction,
    credentials: Credentials,
    *,
    call_id: str,
    lease: timedelta,
    terms: Terms,
    now: datetime,
) -> Job:
    """Begin the attempt; return the running job with the fence that all reports must carry.

    A `call_id` may begin again, since its answer may have been lost or its container restarted;
    that bumps the fence, so that an older copy loses. After too many restarts the attempt is
    settled and the job returned does not run. Raises Lost if another call has the attempt or the
    job has changed since.
    """
    attempt, job = _open(tx, credentials)
    if job.state is JobState.STARTING and job.fence == attempt.fence:
        if attempts.belongs_to_other_attempt(tx, job, call_id):
            raise Lost("this call has already begun another attempt")
        running_job = moves.begin(tx, job, now=now, lease=lease)
        attempts.begin(tx, running_job, call_id=call_id, now=now)
        return running_job
    if job.state is not JobState.RUNNING or attempt.call_id != call_id:
        raise Lost
    if attempt.restarts >= MAX_RESTARTS and _has_progress(job):
        return settle(tx, job, _RESTARTED, terms, now)
    running_job = moves.restart(tx, job, now=now, lease=lease)
    attempts.restart(tx, running_job, counts=_has_progress(job), now=now)
    return running_job


def _has_progress(job: Job) -> bool:
    """Tell whether the worker has reported since it began: if so, a second begin means that it died
    at work; if not, it may only have missed the answer."""
    return job.stage is not None


_RESTARTED = Failure(
    kind=FailureKind.LOST,
    code="worker_lost",
    message=f"the worker died {MAX_RESTARTS + 1} times during one attempt",
)


def progress(
    tx: Transaction,
    credentials: Credentials,
    *,
    fence: int,
    update: Progress,
    lease: timedelta,
    now: datetime,
) -> Job:
    """Record progress and extend the lease. The returned job carries any cancel request."""
    job = _running(tx, credentials, fence)
    after = moves.heartbeat(tx, job, update, now=now, lease=lease)
    attempts.heartbeat(tx, after, now=now)
    return after


def finish(
    tx: Transaction,
    credentials: Credentials,
    *,
    fence: int,
    outcome: Outcome,
    terms: Terms,
    now: datetime,
) -> Job:
    """Accept the finished video. Idempotent, since the first answer may have been lost."""
    finished_job = _finished_before(tx, credentials, fence)
    if finished_job is not None:
        return finished_job
    job = _running(tx, credentials, fence)
    errors = outcome_errors(job, outcome, job.artifact_prefix)
    if errors:
        raise RequestRefused(errors)
    return succeed(tx, job, outcome, terms=terms, now=now)


def succeed(tx: Transaction, job: Job, outcome: Outcome, *, terms: Terms, now: datetime) -> Job:
    """Mark a running job succeeded and close its attempt."""
    charge = charge_of(tx, job, terms.rates, now, GpuTime(outcome.gpu_seconds, outcome.gpu))
    expires_at = now + terms.retention.videos
    succeeded_job = moves.succeed(tx, job, outcome, expires_at=expires_at, charge=charge)
    attempts.end(tx, succeeded_job, outcome="succeeded", charge=charge)
    return succeeded_job


def fail(
    tx: Transaction,
    credentials: Credentials,
    *,
    fence: int,
    failure: Failure,
    terms: Terms,
    now: datetime,
) -> Job:
    """Accept a failure: queue the job again, or make it canceled or failed."""
    job = _running(tx, credentials, fence)
    return settle(tx, job, failure, terms, now)


def release(
    tx: Transaction,
    credentials: Credentials,
    *,
    fence: int,
    terms: Terms,
    now: datetime,
    gpu_time: GpuTime | None = None,
) -> Job:
    """Give the attempt back for a worker that stops; the job is queued again, or canceled."""
    job = _running(tx, credentials, fence)
    return give_back(tx, job, terms, now, gpu_time=gpu_time)


def _open(tx: Transaction, credentials: Credentials) -> tuple[Attempt, Job]:
    """Return the open attempt of these credentials with its job. Raises NotFound or Lost."""
    job = jobs.get_for_update(tx, credentials.job_id)
    attempt = attempts.get(tx, credentials.job_id, credentials.number)
    if job is None or attempt is None or not matches(credentials.token, attempt.token_hash):
        raise NotFound("no such attempt")
    if attempt.ended_at is not None:
        raise Lost
    return attempt, job


def _running(tx: Transaction, credentials: Credentials, fence: int) -> Job:
    _, job = _open(tx, credentials)
    if job.state is not JobState.RUNNING or job.fence != fence:
        raise Lost
    return job


def _finished_before(tx: Transaction, credentials: Credentials, fence: int) -> Job | None:
    attempt = attempts.get(tx, credentials.job_id, credentials.number)
    job = jobs.get(tx, credentials.job_id)
    if attempt is None or job is None or not matches(credentials.token, attempt.token_hash):
        return None
    return job if attempt.outcome == "succeeded" and job.fence == fence else None


def settle(
    tx: Transaction,
    job: Job,
    failure: Failure,
    terms: Terms,
    now: datetime,
    *,
    again: bool = True,
) -> Job:
    """End the running attempt of `job` by a failure. `again=False` forbids another attempt,
    whatever the kind of the failure."""
    charge = charge_of(tx, job, terms.rates, now, GpuTime(failure.gpu_seconds, failure.gpu))

    def move() -> Job:
        if again:
            return _retry(tx, job, failure, charge, terms)
        return moves.fail(tx, job, failure, charge=charge)

    outcome = "failed" if job.cancel_requested_at is None else "canceled"
    return _end(tx, job, charge, move, outcome=outcome, kind=failure.kind, detail=failure.message)


def lapse(tx: Transaction, job: Job, terms: Terms, now: datetime) -> Job:
    """End an attempt that no worker began.

    It does not count against `max_attempts`, but a job that never begins, for example because each
    container dies while it loads, is not tried for ever.
    """
    charge = charge_of(tx, job, terms.rates, now)

    def move() -> Job:
        if attempts.count_lapsed(tx, job) + 1 >= MAX_LAPSED:
            return _step_down(tx, job, _NEVER_BEGUN, charge, terms)
        return moves.release(tx, job, run_at=now, charge=charge)

    return _end(tx, job, charge, move, outcome=attempts.LAPSED)


def give_back(
    tx: Transaction,
    job: Job,
    terms: Terms,
    now: datetime,
    *,
    wait: timedelta = timedelta(0),
    gpu_time: GpuTime | None = None,
) -> Job:
    """End an attempt without a failure and queue the job again after `wait`. Its GPU time is
    charged all the same."""
    charge = charge_of(tx, job, terms.rates, now, gpu_time or GpuTime())

    def move() -> Job:
        return moves.release(tx, job, run_at=now + wait, charge=charge)

    return _end(tx, job, charge, move, outcome="released")


def miss_start_deadline(tx: Transaction, job: Job, terms: Terms, now: datetime) -> Job:
    """Handle a missed start deadline: fall back to the next model, or expire the job."""
    if job.state is JobState.STARTING:
        # In one transaction, since a queued job may be claimed at once.
        job = give_back(tx, job, terms, now)
        if job.state is not JobState.QUEUED:
            return job  # it was canceled
    next_job = step_down(job, _NOT_STARTED, now, terms.models)
    if next_job is None:
        return moves.expire(tx, job, now=now)
    return moves.change_model(tx, job, next_job, now=now)


def give_up_model(tx: Transaction, job: Job, terms: Terms, now: datetime) -> Job:
    """Handle a queued job whose model is no longer served: fall back to the next model, or fail the
    job."""
    name = job.request.model
    failure = Failure(
        kind=FailureKind.INTERNAL,
        code="model_not_served",
        message=f"the model {name!r} is no longer served; submit the request for another model",
        of_model=True,
    )
    next_job = step_down(job, failure, now, terms.models)
    if next_job is None:
        return moves.fail(tx, job, failure, charge=Charge(now))
    return moves.change_model(tx, job, next_job, now=now)


_NEVER_BEGUN = Failure(
    kind=FailureKind.LOST,
    code="never_begun",
    message=f"no worker began in {MAX_LAPSED} starts; see the workers' logs",
)
_NOT_STARTED = Failure(
    kind=FailureKind.LOST,
    code="not_started",
    message="no worker began within start_timeout_seconds",
)


def _end(tx: Transaction, job: Job, charge: Charge, move: Callable[[], Job], **ending: Any) -> Job:
    """Change the job by `move` and close its attempt. A job with a cancel request is canceled
    instead."""
    cancel_requested = job.cancel_requested_at is not None
    after = moves.cancel(tx, job, charge=charge) if cancel_requested else move()
    attempts.end(tx, job, charge=charge, **ending)
    return after


def _retry(tx: Transaction, job: Job, failure: Failure, charge: Charge, terms: Terms) -> Job:
    """Queue the job again if its kind of failure is retried, else step down."""
    earlier = attempts.count_failed(tx, job, failure.kind)
    wait = retry_wait(failure.kind, attempts_left=job.max_attempts - job.attempt, earlier=earlier)
    if wait is None:
        return _step_down(tx, job, failure, charge, terms)
    queue = moves.release if is_uncounted(failure.kind) else moves.requeue
    return queue(tx, job, run_at=charge.at + wait, charge=charge)


def _step_down(tx: Transaction, job: Job, failure: Failure, charge: Charge, terms: Terms) -> Job:
    next_job = step_down(job, failure, charge.at, terms.models)
    if next_job is None:
        return moves.fail(tx, job, failure, charge=charge)
    return moves.requeue(tx, job, run_at=charge.at, charge=charge, next_job=next_job)


_MILLISECOND = timedelta(milliseconds=1)


def charge_of(
    tx: Transaction,
    job: Job,
    rates: Rates,
    now: datetime,
    gpu_time: GpuTime = _NOT_MEASURED,
) -> Charge:
    """Compute the charge for the newest attempt at `job`, ending now.

    The worker's measurement includes loading the model, but not containers of the attempt that
    died before. So the charge is at least the whole time since `begin` if a container died at
    work, if nothing was measured, or if a GPU is billed that the worker did not name.
    """
    seconds, gpu = gpu_time
    attempt = attempts.get(tx, job.id, job.attempt)
    model = job.request.model
    if attempt is None or not rates.needs_gpu(model):
        return Charge(now)
    since_begin = 0
    if attempt.started_at is not None:
        since_begin = max(0, (now - attempt.started_at) // _MILLISECOND)
    gpu_ms = round((seconds or 0.0) * 1000)
    is_measured = seconds is not None and (gpu is not None or not rates.billed)
    if not is_measured or (gpu is not None and attempt.restarts):
        gpu_ms = max(gpu_ms, since_begin)
    return Charge(now, gpu_ms, rates.actual(model, gpu) if gpu_ms else None, gpu)
