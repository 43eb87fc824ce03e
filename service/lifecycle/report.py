"""Worker callbacks: begin, progress, finish, fail, release. A stale fencing token raises Lost."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain.attempt import Failure, FailureKind, Outcome, Progress
from service.domain.errors import Lost, NotFound, RequestRefused
from service.domain.ids import JobId
from service.domain.job import Job, JobState
from service.domain.key import matches
from service.domain.retry import MAX_RESTARTS
from service.domain.terms import Terms
from service.lifecycle.billing import GpuTime, charge_of
from service.lifecycle.settle import give_back, settle
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
