"""What a failed attempt means for its job: canceled, queued again, or failed."""

from datetime import datetime

from service.domain.attempt import Failure
from service.domain.job import Job, JobState
from service.domain.price import Charge, Rates
from service.domain.retry import retry_wait
from service.lifecycle.charge import charge_of
from service.store import attempts, moves
from service.store.database import Transaction


def settle(tx: Transaction, job: Job, failure: Failure, rates: Rates, now: datetime) -> Job | None:
    """End the running attempt of `job` and move the job. None when `job` is stale."""
    earlier = attempts.count_failed(tx, job, failure.kind)
    charge = charge_of(tx, job, rates, now, seconds=failure.gpu_seconds, gpu=failure.gpu)
    moved = _move(tx, job, failure, earlier, charge)
    if moved is not None:
        attempts.end(
            tx,
            job,
            outcome="canceled" if moved.state is JobState.CANCELED else "failed",
            kind=failure.kind,
            detail=failure.message,
            charge=charge,
        )
    return moved


def _move(tx: Transaction, job: Job, failure: Failure, earlier: int, charge: Charge) -> Job | None:
    if job.cancel_requested_at is not None:
        # Nobody wants it any more: not worth another attempt, and not a failure either.
        return moves.cancel(tx, job, charge=charge)
    left = job.max_attempts - job.attempt
    wait = retry_wait(failure.kind, left=left, earlier=earlier)
    if wait is not None:
        return moves.requeue(tx, job, run_at=charge.at + wait, charge=charge)
    return moves.fail(tx, job, failure, charge=charge)
