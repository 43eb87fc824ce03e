"""What an attempt without a video means for its job: canceled, queued again, perhaps for another
model, or failed."""

from datetime import datetime

from service.domain.attempt import Failure, FailureKind
from service.domain.job import Job, JobState
from service.domain.price import Charge, Rates
from service.domain.retry import MAX_LAPSED, retry_wait, step_down
from service.lifecycle.charge import charge_of
from service.store import attempts, moves
from service.store.database import Transaction


def settle(
    tx: Transaction,
    job: Job,
    failure: Failure,
    rates: Rates,
    now: datetime,
    *,
    again: bool = True,
) -> Job | None:
    """End the running attempt of `job` and move the job; without `again` it is not tried once
    more, whatever the kind of the failure. None when `job` is stale."""
    charge = charge_of(tx, job, rates, now, seconds=failure.gpu_seconds, gpu=failure.gpu)
    if job.cancel_requested_at is not None:
        # Nobody wants it any more: not worth another attempt, and not a failure either.
        moved = moves.cancel(tx, job, charge=charge)
    elif again:
        moved = _again(tx, job, failure, charge)
    else:
        moved = moves.fail(tx, job, failure, charge=charge)
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


def lapse(tx: Transaction, job: Job, rates: Rates, now: datetime) -> Job | None:
    """End a start that no worker made good. None when `job` is stale.

    No line of the model's code need have run, so it is not one of the job's few attempts; but
    what never begins, say because every container dies while it loads, is not tried for ever.
    """
    charge = charge_of(tx, job, rates, now)
    if job.cancel_requested_at is not None:
        moved = moves.cancel(tx, job, charge=charge)
    elif attempts.count_lapsed(tx, job) + 1 >= MAX_LAPSED:
        moved = _step_down(tx, job, _NEVER_BEGUN, charge)
    else:
        moved = moves.release(tx, job, run_at=now, charge=charge)
    if moved is not None:
        attempts.end(tx, job, outcome=attempts.LAPSED, charge=charge)
    return moved


_NEVER_BEGUN = Failure(
    kind=FailureKind.LOST,
    code="never_begun",
    message=f"{MAX_LAPSED} starts were made and no worker began; a worker's log may say why",
)


def _again(tx: Transaction, job: Job, failure: Failure, charge: Charge) -> Job | None:
    """The same once more, where its kind of failure is worth that; else a step down."""
    earlier = attempts.count_failed(tx, job, failure.kind)
    wait = retry_wait(failure.kind, left=job.max_attempts - job.attempt, earlier=earlier)
    if wait is None:
        return _step_down(tx, job, failure, charge)
    return moves.requeue(tx, job, run_at=charge.at + wait, charge=charge)


def _step_down(tx: Transaction, job: Job, failure: Failure, charge: Charge) -> Job | None:
    onward = step_down(job, failure, charge.at)
    if onward is None:
        return moves.fail(tx, job, failure, charge=charge)
    return moves.requeue(tx, job, run_at=charge.at, charge=charge, onward=onward)
