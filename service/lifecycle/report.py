"""A worker's word comes in here: begin, progress, finish, fail, release. A stale fence is Lost."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain.artifact import is_salted, lone_prefix
from service.domain.attempt import Failure, FailureKind, Outcome, Progress
from service.domain.call import CallEnd
from service.domain.errors import Lost, NotFound, RequestRefused
from service.domain.ids import JobId
from service.domain.job import Job, JobState
from service.domain.key import matches
from service.domain.retry import MAX_RESTARTS
from service.domain.terms import Terms
from service.lifecycle.billing import GpuTime, charge_of
from service.lifecycle.settle import give_back, settle
from service.lifecycle.verify import faults
from service.store import attempts, jobs, moves
from service.store.attempts import Attempt
from service.store.transaction import Transaction


@dataclass(frozen=True)
class Credentials:
    """Which attempt a report is about, and the token that only its worker was given."""

    job_id: JobId
    number: int
    token: str


def begin(
    tx: Transaction,
    credentials: Credentials,
    *,
    call_id: str,
    lease: timedelta,
    terms: Terms,
    now: datetime,
) -> Job:
    """A worker's first act. Answers the running job with the fence that all reports must carry.

    The same `call_id` may begin again, for its answer may have been lost or its container
    restarted; that bumps the fence, so an older copy of it is the one that loses. One that was
    restarted too often is refused with a job that does not run any more. Raises Lost when another
    call holds the attempt or the job has moved on.
    """
    attempt, job = _open(tx, credentials)
    if job.state is JobState.STARTING and job.fence == attempt.fence:
        if attempts.is_of_another(tx, job, call_id):
            raise Lost("this call has already begun another attempt")
        begun = moves.begin(tx, job, now=now, lease=lease)
        if begun is not None:
            attempts.begin(tx, begun, call_id=call_id, now=now)
            return begun
    elif job.state is JobState.RUNNING and attempt.call_id == call_id:
        if attempt.restarts >= MAX_RESTARTS and _reported(job):
            again = settle(tx, job, _RESTARTED, terms, now)
        else:
            again = _begin_again(tx, job, lease, now)
        if again is not None:
            return again
    raise Lost


def _begin_again(tx: Transaction, job: Job, lease: timedelta, now: datetime) -> Job | None:
    again = moves.rebegin(tx, job, now=now, lease=lease)
    if again is not None:
        attempts.restart(tx, again, counts=_reported(job), now=now)
    return again


def _reported(job: Job) -> bool:
    """Whether its worker has said something since it began. One that has not may merely have
    missed the answer; one that has, and begins again, died at work."""
    return job.stage is not None


_RESTARTED = Failure(
    kind=FailureKind.LOST,
    code="worker_lost",
    message=f"the worker died at work {MAX_RESTARTS + 1} times in one attempt",
)


def progress(
    tx: Transaction,
    credentials: Credentials,
    *,
    fence: int,
    told: Progress,
    lease: timedelta,
    now: datetime,
) -> Job:
    """Extend the lease and show where the attempt stands. The answer carries a wish to cancel."""
    job = _running(tx, credentials, fence)
    beaten = moves.beat(tx, job, told, now=now, lease=lease)
    if beaten is None:
        raise Lost
    attempts.beat(tx, beaten, now=now)
    return beaten


def finish(
    tx: Transaction,
    credentials: Credentials,
    *,
    fence: int,
    outcome: Outcome,
    terms: Terms,
    now: datetime,
) -> Job:
    """The video is there. Told twice it is answered twice: the first answer may have been lost."""
    done = _finished_before(tx, credentials, fence)
    if done is not None:
        return done
    job = _running(tx, credentials, fence)
    errors = faults(job, outcome, job.artifact_prefix)
    if errors:
        raise RequestRefused(errors)
    return succeed(tx, job, outcome, terms=terms, now=now)


def succeed(tx: Transaction, job: Job, outcome: Outcome, *, terms: Terms, now: datetime) -> Job:
    """Make a running job succeeded and close its attempt. Raises Lost when `job` is stale."""
    charge = charge_of(tx, job, terms.rates, now, GpuTime(outcome.gpu_seconds, outcome.gpu))
    expires_at = now + terms.keeping.clips
    finished = moves.succeed(tx, job, outcome, expires_at=expires_at, charge=charge)
    if finished is None:
        raise Lost
    attempts.end(tx, finished, outcome="succeeded", charge=charge)
    return finished


def adopt(
    tx: Transaction, job: Job, call_id: str, end: CallEnd, *, terms: Terms, now: datetime
) -> Job | None:
    """What the job's own call answered, in place of a report that was not heard. None when that
    says nothing of `job` as it stands: then it is as if the worker had fallen silent."""
    if not _speaks_of(job, end):
        return None
    if job.state is JobState.STARTING:
        # It could not reach us to begin; what it did counts all the same.
        begun = moves.begin(tx, job, now=now, lease=timedelta(0))
        if begun is None:
            return None
        job = begun
    if end.failure is not None:
        return settle(tx, job, end.failure, terms, now)
    assert end.outcome is not None
    if is_foreign(job, call_id, end.outcome, end):
        return settle(tx, job, _FOREIGN, terms, now)
    return succeed(tx, job, end.outcome, terms=terms, now=now)


def is_foreign(job: Job, call_id: str, outcome: Outcome, end: CallEnd) -> bool:
    """Whether this is not what was asked for, or lies where the call was not to put it."""
    return bool(faults(job, outcome, _prefix(job, call_id, outcome, end)))


def _prefix(job: Job, call_id: str, outcome: Outcome, end: CallEnd) -> str:
    if not end.begun:
        return lone_prefix(job.id, end.fence, call_id)
    said = outcome.facts.video.key.rpartition("/")[0]
    # The salt that its begin was answered is unknown where an older database was restored since.
    return said if is_salted(said, job.id, end.fence) else job.prefix_of(end.fence)


def _speaks_of(job: Job, end: CallEnd) -> bool:
    """Whether this answer of the job's own call is about the attempt as it stands.

    Each begin moves the fence on, and a worker that did not hear its begin confirmed works on under
    its ticket's. Whoever made a clip, it is the attempt's; that an older one failed is no news, for
    another container of the call may be at work.
    """
    return end.outcome is not None or (end.failure is not None and end.fence == job.fence)


_FOREIGN = Failure(
    kind=FailureKind.INTERNAL,
    code="foreign_result",
    message="the worker answered with a clip that is not this job's; its log may say why",
)


def fail(
    tx: Transaction,
    credentials: Credentials,
    *,
    fence: int,
    failure: Failure,
    terms: Terms,
    now: datetime,
) -> Job:
    """No video. The job is queued again, canceled or failed, by what failed and how often."""
    job = _running(tx, credentials, fence)
    moved = settle(tx, job, failure, terms, now)
    if moved is None:
        raise Lost
    return moved


def release(
    tx: Transaction,
    credentials: Credentials,
    *,
    fence: int,
    terms: Terms,
    now: datetime,
    spent: GpuTime | None = None,
) -> Job:
    """The worker stops and gives the attempt back; the job waits for another, or is canceled."""
    moved = give_back(tx, _running(tx, credentials, fence), terms, now, spent=spent)
    if moved is None:
        raise Lost
    return moved


def _open(tx: Transaction, credentials: Credentials) -> tuple[Attempt, Job]:
    """The attempt these credentials open, still open, with its job."""
    job = jobs.hold(tx, credentials.job_id)
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
