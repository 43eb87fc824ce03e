"""What an attempt without a video means for its job: canceled, queued again, perhaps for another
model, or failed."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from service.domain.attempt import Failure, FailureKind
from service.domain.job import Job, JobState
from service.domain.price import Charge
from service.domain.retry import MAX_LAPSED, retry_wait, spares, step_down
from service.domain.terms import Terms
from service.lifecycle.billing import GpuTime, charge_of
from service.store import attempts, moves
from service.store.transaction import Transaction


def settle(
    tx: Transaction,
    job: Job,
    failure: Failure,
    terms: Terms,
    now: datetime,
    *,
    again: bool = True,
) -> Job | None:
    """End the running attempt of `job` and move the job; without `again` it is not tried once
    more, whatever the kind of the failure. None when `job` is stale."""
    charge = charge_of(tx, job, terms.rates, now, GpuTime(failure.gpu_seconds, failure.gpu))

    def on() -> Job | None:
        if again:
            return _again(tx, job, failure, charge, terms)
        return moves.fail(tx, job, failure, charge=charge)

    canceled = job.cancel_requested_at is not None
    outcome = "canceled" if canceled else "failed"
    return _end(tx, job, charge, on, outcome=outcome, kind=failure.kind, detail=failure.message)


def lapse(tx: Transaction, job: Job, terms: Terms, now: datetime) -> Job | None:
    """End a start that no worker made good. None when `job` is stale.

    No line of the model's code need have run, so it is not one of the job's few attempts; but
    what never begins, say because every container dies while it loads, is not tried for ever.
    """
    charge = charge_of(tx, job, terms.rates, now)

    def on() -> Job | None:
        if attempts.count_lapsed(tx, job) + 1 >= MAX_LAPSED:
            return _step_down(tx, job, _NEVER_BEGUN, charge, terms)
        return moves.release(tx, job, run_at=now, charge=charge)

    return _end(tx, job, charge, on, outcome=attempts.LAPSED)


def give_back(
    tx: Transaction,
    job: Job,
    terms: Terms,
    now: datetime,
    *,
    wait: timedelta = timedelta(0),
    spent: GpuTime | None = None,
) -> Job | None:
    """End an attempt that nobody is to blame for; what it took is paid for all the same, by what
    its worker measured, where it did. None when `job` is stale."""
    charge = charge_of(tx, job, terms.rates, now, spent or GpuTime())

    def on() -> Job | None:
        return moves.release(tx, job, run_at=now + wait, charge=charge)

    return _end(tx, job, charge, on, outcome="released")


def pass_over(tx: Transaction, job: Job, terms: Terms, now: datetime) -> Job | None:
    """No worker has begun `job` by its start deadline: perhaps one of another model does. None
    when `job` is stale."""
    if job.state is JobState.STARTING:
        # In one transaction, for a queued job is soon claimed again.
        back = give_back(tx, job, terms, now)
        if back is None or back.state is not JobState.QUEUED:
            return back
        job = back
    onward = step_down(job, _NOT_STARTED, now, terms.models)
    if onward is None:
        return moves.expire(tx, job, now=now)
    return moves.hand_on(tx, job, onward, now=now)


def give_up_model(tx: Transaction, job: Job, terms: Terms, now: datetime) -> Job | None:
    """Nobody serves the model of a queued job any more: the next one of its order makes it, or it
    has failed. None when `job` is stale."""
    name = job.request.model
    failure = Failure(
        kind=FailureKind.INTERNAL,
        code="model_not_served",
        message=f"the model {name!r} is not served here any more; submit it for another one",
        of_model=True,
    )
    onward = step_down(job, failure, now, terms.models)
    if onward is None:
        return moves.fail(tx, job, failure, charge=Charge(now))
    return moves.hand_on(tx, job, onward, now=now)


_NEVER_BEGUN = Failure(
    kind=FailureKind.LOST,
    code="never_begun",
    message=f"{MAX_LAPSED} starts were made and no worker began; a worker's log may say why",
)
_NOT_STARTED = Failure(
    kind=FailureKind.LOST,
    code="not_started",
    message="no worker began it within start_timeout_seconds",
)


def _end(
    tx: Transaction, job: Job, charge: Charge, on: Callable[[], Job | None], **ending: Any
) -> Job | None:
    """Move the job by `on` and close its attempt. What nobody wants any more is neither worth
    another attempt nor a failure: it is canceled."""
    unwanted = job.cancel_requested_at is not None
    moved = moves.cancel(tx, job, charge=charge) if unwanted else on()
    if moved is not None:
        attempts.end(tx, job, charge=charge, **ending)
    return moved


def _again(tx: Transaction, job: Job, failure: Failure, charge: Charge, terms: Terms) -> Job | None:
    """The same once more, where its kind of failure is worth that; else a step down."""
    earlier = attempts.count_failed(tx, job, failure.kind)
    wait = retry_wait(failure.kind, left=job.max_attempts - job.attempt, earlier=earlier)
    if wait is None:
        return _step_down(tx, job, failure, charge, terms)
    queue = moves.release if spares(failure.kind) else moves.requeue
    return queue(tx, job, run_at=charge.at + wait, charge=charge)


def _step_down(
    tx: Transaction, job: Job, failure: Failure, charge: Charge, terms: Terms
) -> Job | None:
    onward = step_down(job, failure, charge.at, terms.models)
    if onward is None:
        return moves.fail(tx, job, failure, charge=charge)
    return moves.requeue(tx, job, run_at=charge.at, charge=charge, onward=onward)
