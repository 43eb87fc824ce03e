"""A worker's word comes in here: begin, progress, finish, fail, release. A stale fence is Lost."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain.attempt import Failure, FailureKind, Outcome, Progress
from service.domain.call import CallEnd
from service.domain.errors import FieldError, Lost, NotFound, RequestRefused
from service.domain.job import Job, JobId, JobState, artifact_prefix
from service.domain.key import opens
from service.domain.price import Terms
from service.domain.retry import MAX_RESTARTS
from service.lifecycle.charge import Spent, charge_of
from service.lifecycle.settle import give_back, settle
from service.store import attempts, jobs, moves
from service.store.attempts import Attempt
from service.store.database import Transaction


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
    _check(job, outcome)
    return succeed(tx, job, outcome, terms=terms, now=now)


def succeed(tx: Transaction, job: Job, outcome: Outcome, *, terms: Terms, now: datetime) -> Job:
    """Make a running job succeeded and close its attempt. Raises Lost when `job` is stale."""
    charge = charge_of(tx, job, terms.rates, now, Spent(outcome.gpu_seconds, outcome.gpu))
    expires_at = now + terms.keeping.clips
    finished = moves.succeed(tx, job, outcome, expires_at=expires_at, charge=charge)
    if finished is None:
        raise Lost
    attempts.end(tx, finished, outcome="succeeded", charge=charge)
    return finished


def adopt(tx: Transaction, job: Job, end: CallEnd, *, terms: Terms, now: datetime) -> Job | None:
    """What a called worker answered, in place of a report that was not heard. None when it is not,
    or no longer, about `job` as it stands."""
    if end.attempt != job.attempt or end.fence != job.fence:
        return None
    if job.state is JobState.STARTING:
        # It could not reach us to begin; what it did counts all the same.
        begun = moves.begin(tx, job, now=now, lease=timedelta(0))
        if begun is None:
            return None
        job = begun
    if end.outcome is not None and _lies_under(job.id, end):
        return succeed(tx, job, end.outcome, terms=terms, now=now)
    if end.failure is not None:
        return settle(tx, job, end.failure, terms, now)
    return give_back(tx, job, terms, now)


def _lies_under(job_id: JobId, end: CallEnd) -> bool:
    """Whether the bytes are where this call may have put them."""
    assert end.outcome is not None
    folder = end.outcome.facts.video.key.rpartition("/")[0]
    prefix = artifact_prefix(job_id, end.fence)
    return folder == prefix or folder.startswith(f"{prefix}-")


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
    spent: Spent | None = None,
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
    if job is None or attempt is None or not opens(credentials.token, attempt.token_hash):
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
    if attempt is None or job is None or not opens(credentials.token, attempt.token_hash):
        return None
    return job if attempt.outcome == "succeeded" and job.fence == fence else None


def _check(job: Job, outcome: Outcome) -> None:
    """A worker may only report what was asked for, and bytes that lie under its own fence."""
    facts, asked = outcome.facts, job.request
    errors = [
        FieldError(
            f"/facts/{name}/key", f"must lie directly under {job.artifact_prefix}/", "foreign"
        )
        for name in ("video", "thumbnail", "last_frame")
        if getattr(facts, name).key.rpartition("/")[0] != job.artifact_prefix
    ]
    errors += [
        FieldError(f"/facts/{name}", f"the job asks for {getattr(asked, name)}", "not_as_asked")
        for name in ("width", "height", "fps", "num_frames")
        if getattr(facts, name) != getattr(asked, name)
    ]
    if errors:
        raise RequestRefused(errors)
