"""What a failed attempt means for its job: canceled, queued again, or failed."""

from datetime import datetime

from service.domain.attempt import Failure
from service.domain.job import Job, JobState
from service.domain.retry import retry_wait
from service.store import attempts, moves
from service.store.database import Transaction


def settle(tx: Transaction, job: Job, failure: Failure, now: datetime) -> Job | None:
    """End the running attempt of `job` and move the job. None when `job` is stale."""
    earlier = attempts.count_failed(tx, job, failure.kind)
    moved = _move(tx, job, failure, earlier, now)
    if moved is not None:
        attempts.end(
            tx,
            job,
            outcome="canceled" if moved.state is JobState.CANCELED else "failed",
            kind=failure.kind,
            detail=failure.message,
            now=now,
        )
    return moved


def _move(tx: Transaction, job: Job, failure: Failure, earlier: int, now: datetime) -> Job | None:
    if job.cancel_requested_at is not None:
        # Nobody wants it any more: not worth another attempt, and not a failure either.
        return moves.cancel(tx, job, now=now)
    left = job.max_attempts - job.attempt
    wait = retry_wait(failure.kind, left=left, earlier=earlier)
    if wait is not None:
        return moves.requeue(tx, job, run_at=now + wait)
    return moves.fail(tx, job, failure, now=now)
