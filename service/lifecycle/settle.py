"""End attempts without a video: the job is canceled, queued again, perhaps for another model, or
failed."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from service.domain.attempt import Failure, FailureKind
from service.domain.job import Job, JobState
from service.domain.price import Charge
from service.domain.retry import MAX_LAPSED, is_uncounted, retry_wait, step_down
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
