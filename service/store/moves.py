"""Every change to a job: one UPDATE, guarded by its state and by its fence.

Each answers the job as it is now, or None when the guard did not hold: somebody else changed it
first, and the caller's knowledge is stale.
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from service.domain.artifact import new_salt
from service.domain.attempt import Failure, Outcome, Progress
from service.domain.job import ACTIVE, Job, JobState, sources
from service.domain.price import Charge, microusd, month_of
from service.domain.retention import SETTLE
from service.domain.webhook import EVENT_OF
from service.store import keys, ledger, outbox
from service.store.job_rows import job_table, to_job, to_row
from service.store.transaction import Transaction


def claim(tx: Transaction, job: Job, *, lease_until: datetime) -> Job | None:
    """Its key's turn is already counted (keys.enter_active)."""
    return _move(
        tx,
        job,
        JobState.STARTING,
        attempt=job.attempt + 1,
        attempt_progress=0.0,
        lease_until=lease_until,
        stage=None,
    )


def begin(tx: Transaction, job: Job, *, now: datetime, lease: timedelta) -> Job | None:
    begun = _move(
        tx,
        job,
        JobState.RUNNING,
        folder_salt=new_salt(),
        started_at=now,
        start_deadline_at=None,  # it was taken in time: a later attempt may wait longer
        lease_until=now + lease,
        run_deadline_at=now + timedelta(seconds=job.timeout_seconds),
    )
    if begun is not None and job.started_at is None:
        outbox.enqueue(tx, EVENT_OF[begun.state], begun, now)
    return begun


def requeue(
    tx: Transaction,
    job: Job,
    *,
    run_at: datetime,
    charge: Charge | None = None,
    onward: Job | None = None,
) -> Job | None:
    """`charge` is what the attempt has cost that ends here; `onward` is how the job goes on, where
    that is otherwise than before."""
    moved = _move(
        tx,
        job,
        JobState.QUEUED,
        charge,
        run_at=run_at,
        folder_salt=None,
        lease_until=None,
        run_deadline_at=None,
        stage=None,
        stage_detail=None,
        **_onward(job, onward or job),
    )
    if moved is not None:
        tx.notify(f"queue:{moved.request.model}")
    return moved


def hand_on(tx: Transaction, job: Job, onward: Job, *, now: datetime) -> Job | None:
    """A queued job waits for a worker of another model from now on."""
    values = _onward(job, onward)
    moved = _update(tx, job, {JobState.QUEUED}, fence=job.fence + 1, run_at=now, **values)
    if moved is not None:
        tx.notify(f"queue:{moved.request.model}")
    return moved


def _onward(job: Job, onward: Job) -> dict[str, Any]:
    """The columns of what differs."""
    before, after = to_row(job), to_row(onward)
    return {name: value for name, value in after.items() if value != before[name]}


def release(tx: Transaction, job: Job, *, run_at: datetime, charge: Charge) -> Job | None:
    """Queue again after an attempt that does not count as one of the job's few."""
    spared = job.model_copy(update={"max_attempts": job.max_attempts + 1})
    return requeue(tx, job, run_at=run_at, charge=charge, onward=spared)


def succeed(
    tx: Transaction, job: Job, outcome: Outcome, *, expires_at: datetime, charge: Charge
) -> Job | None:
    return _finish(
        tx,
        job,
        JobState.SUCCEEDED,
        charge,
        result=outcome.facts.model_dump(mode="json"),
        timings_ms=outcome.timings_ms,
        expires_at=expires_at,
        progress=1.0,
    )


def fail(tx: Transaction, job: Job, failure: Failure, *, charge: Charge) -> Job | None:
    return _finish(
        tx,
        job,
        JobState.FAILED,
        charge,
        stage=failure.stage or job.stage,
        error_kind=failure.kind,
        error_code=failure.code,
        error_message=failure.message,
    )


def cancel(tx: Transaction, job: Job, *, charge: Charge) -> Job | None:
    wished_at = job.cancel_requested_at or charge.at
    return _finish(tx, job, JobState.CANCELED, charge, cancel_requested_at=wished_at)


def expire(tx: Transaction, job: Job, *, now: datetime) -> Job | None:
    return _finish(tx, job, JobState.EXPIRED, Charge(at=now))


def _finish(tx: Transaction, job: Job, to: JobState, charge: Charge, **values: Any) -> Job | None:
    now = charge.at
    finished = _move(
        tx,
        job,
        to,
        charge,
        finished_at=now,
        purge_at=now + SETTLE,
        lease_until=None,
        run_deadline_at=None,
        **values,
    )
    if finished is not None:
        outbox.enqueue(tx, EVENT_OF[to], finished, now)
    return finished


def _move(
    tx: Transaction, job: Job, to: JobState, charge: Charge | None = None, **values: Any
) -> Job | None:
    """The one door between states: guarded by the state, and by the fence, which it bumps.

    The bump is what tells a late worker apart: whatever it still believes, its fence is old.
    Success keeps the fence, for it names the folder in which the finished bytes lie.
    """
    fence = job.fence if to is JobState.SUCCEEDED else job.fence + 1
    cost = {} if charge is None else _cost(job, charge)
    moved = _update(tx, job, sources(to), **{**cost, **values, "state": to, "fence": fence})
    if moved is not None:
        _count(tx, job, to, charge)
    return moved


def _cost(job: Job, charge: Charge) -> dict[str, Any]:
    """A job costs what its attempts have cost, one as the other; the rate shown is the last."""
    cost: dict[str, Any] = {
        "gpu_ms": round(job.gpu_seconds * 1000) + charge.gpu_ms,
        "actual_microusd": microusd(job.actual_usd or 0.0) + charge.microusd,
        "gpu": charge.gpu or job.gpu,
    }
    if charge.rate is not None:
        rate = charge.rate
        cost |= {
            "rate_source": rate.source,
            "rate_gpu": rate.gpu,
            "usd_per_second": rate.usd_per_second,
        }
    return cost


def _count(tx: Transaction, job: Job, to: JobState, charge: Charge | None) -> None:
    """Keep what is kept of its key true: queued and active jobs, reservations, what was spent."""
    keys.count(
        tx,
        job.key_id,
        queued=(to is JobState.QUEUED) - (job.state is JobState.QUEUED),
        active=-(job.state in ACTIVE and to not in ACTIVE),
        reserved=-microusd(job.estimated_usd) if to.final else 0,
        spent=0 if charge is None else charge.microusd,
        month=0 if charge is None else month_of(charge.at),
    )
    if charge is not None:
        ledger.add(tx, job, charge, jobs=int(to.final))


# Changes within a state.


def let_run(tx: Transaction, job: Job, *, now: datetime) -> Job | None:
    """A queued job may run from now on."""
    moved = _update(tx, job, {JobState.QUEUED}, run_at=now)
    if moved is not None:
        tx.notify(f"queue:{job.request.model}")
    return moved


def rebegin(tx: Transaction, job: Job, *, now: datetime, lease: timedelta) -> Job | None:
    """The same call began twice: the newer container goes on, the older one's fence is stale."""
    return _update(
        tx,
        job,
        {JobState.RUNNING},
        fence=job.fence + 1,
        lease_until=now + lease,
        attempt_progress=0.0,
        stage=None,
        stage_detail=None,
    )


def beat(
    tx: Transaction, job: Job, progress: Progress, *, now: datetime, lease: timedelta
) -> Job | None:
    """Extend the lease; the fraction shown never falls, and is 1 only for a finished job."""
    beaten = _update(
        tx,
        job,
        {JobState.RUNNING},
        stage=progress.stage,
        stage_detail=progress.detail,
        progress=max(job.progress, min(progress.fraction, 0.99)),
        attempt_progress=progress.fraction,
        lease_until=now + lease,
    )
    if beaten is not None and _news(job, beaten):
        outbox.enqueue_latest(tx, "job.progress", beaten, now)
    return beaten


def _news(before: Job, after: Job) -> bool:
    """Whether a heartbeat brought something worth an event: another stage, or 5 % more."""
    return before.stage is not after.stage or int(before.progress * 20) < int(after.progress * 20)


def wait_on(tx: Transaction, job: Job, *, now: datetime, lease: timedelta) -> Job | None:
    """Its call is alive, though it says nothing: give it another lease."""
    return _update(tx, job, ACTIVE, lease_until=now + lease)


def request_cancel(tx: Transaction, job: Job, *, now: datetime) -> Job | None:
    return _update(tx, job, {JobState.RUNNING}, cancel_requested_at=job.cancel_requested_at or now)


def _update(
    tx: Transaction, job: Job, states: set[JobState] | frozenset[JobState], **values: Any
) -> Job | None:
    statement = (
        sa.update(job_table)
        .where(
            job_table.c.id == job.id, job_table.c.state.in_(states), job_table.c.fence == job.fence
        )
        .values(**values)
        .returning(job_table)
    )
    row = tx.execute(statement).mappings().first()
    if row is None:
        return None
    tx.notify(job.id)
    return to_job(row)
