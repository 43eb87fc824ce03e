"""The jobs table: every change of state is one UPDATE guarded by state and by fence."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from service.domain.attempt import Failure, Outcome, Progress
from service.domain.job import (
    Job,
    JobError,
    JobId,
    JobState,
    KeyId,
    Priority,
    sources,
)
from service.domain.retry import RETRYABLE
from service.store import keys
from service.store.engine import Transaction
from service.store.tables import ACTIVE_STATES, QUEUED, JobRow

_jobs: sa.Table = JobRow.__table__  # type: ignore[attr-defined]
_PRIORITIES: dict[Priority, int] = {"high": 0, "normal": 1, "low": 2}
_PRIORITY_WORDS = {number: word for word, number in _PRIORITIES.items()}


_QUEUED = sa.text(QUEUED)
_ACTIVE_NOW = sa.text(ACTIVE_STATES)

# The statements of the busiest paths are built once: building one costs more than running it.


def _bound(name: str, column: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=_jobs.c[column].type)


_BY_ID = sa.select(_jobs).where(_jobs.c.id == _bound("job_id", "id"))
_BY_ID_AND_KEY = _BY_ID.where(_jobs.c.key_id == _bound("owner", "key_id"))
_ACTIVE = sa.select(sa.func.count()).select_from(_jobs).where(_ACTIVE_NOW)
_LINE = (
    sa.select(_jobs.c.priority, sa.type_coerce(_jobs.c.run_at, sa.BigInteger), _jobs.c.id)
    .where(_QUEUED)
    .order_by(_jobs.c.priority, _jobs.c.run_at, _jobs.c.id)
)
_INSERT = sa.insert(_jobs)


def insert(tx: Transaction, job: Job) -> None:
    """A new queued job; its place in its key's queue is already counted."""
    tx.execute(_INSERT, _to_row(job))
    tx.ring(f"queue:{job.request.model}")


def get(tx: Transaction, job_id: JobId, *, key_id: KeyId | None = None) -> Job | None:
    """The job, if it exists and, where `key_id` is given, belongs to that key."""
    statement = _BY_ID if key_id is None else _BY_ID_AND_KEY
    row = tx.execute(statement, {"job_id": job_id, "owner": key_id}).mappings().first()
    return None if row is None else _to_job(row)


def page(
    tx: Transaction,
    key_id: KeyId,
    *,
    size: int,
    after: JobId | None = None,
    newest_first: bool = True,
    conditions: Mapping[str, Any],
) -> list[Job]:
    """Jobs of a key in order of creation, beginning behind `after`.

    `conditions` may hold `states`, `models`, `ids` (any of each) and `metadata` (all of them).
    """
    order = sa.desc(_jobs.c.id) if newest_first else sa.asc(_jobs.c.id)
    statement = sa.select(_jobs).where(_jobs.c.key_id == key_id).order_by(order).limit(size)
    if after is not None:
        statement = statement.where(_jobs.c.id < after if newest_first else _jobs.c.id > after)
    for name, column in (("states", "state"), ("models", "model"), ("ids", "id")):
        if conditions.get(name):
            statement = statement.where(_jobs.c[column].in_(conditions[name]))
    for label, text in conditions.get("metadata", {}).items():
        statement = statement.where(_jobs.c.user_metadata[label].as_string() == text)
    return [_to_job(row) for row in tx.execute(statement).mappings()]


def count_running(tx: Transaction) -> int:
    return int(tx.execute(_ACTIVE).scalar_one())


# A job's place among those that wait, in the order in which they are claimed.
Place = tuple[int, int, str]


def line(tx: Transaction) -> list[Place]:
    """The places of all queued jobs, first to last."""
    return [tuple(row) for row in tx.execute(_LINE)]


def place(job: Job) -> Place:
    return _PRIORITIES[job.priority], round(job.run_at.timestamp() * 1_000_000), job.id


def next_queued(tx: Transaction, models: list[str], now: datetime) -> Job | None:
    """The job that is due first among those of `models`, left where it is."""
    row = tx.execute(_due(models, now)).mappings().first()
    return None if row is None else _to_job(row)


def _due(models: list[str], now: datetime) -> sa.Select[Any]:
    return (
        sa.select(_jobs)
        .where(_QUEUED, _jobs.c.run_at <= now, _jobs.c.model.in_(models))
        .order_by(_jobs.c.priority, _jobs.c.run_at, _jobs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def lapsed(tx: Transaction, now: datetime) -> list[Job]:
    """Jobs whose worker has been silent for longer than its lease."""
    return _all(tx, _ACTIVE_NOW, _jobs.c.lease_until < now)


def overdue(tx: Transaction, now: datetime) -> list[Job]:
    """Jobs that have run for longer than their timeout."""
    return _all(tx, _ACTIVE_NOW, _jobs.c.state == JobState.RUNNING, _jobs.c.run_deadline_at < now)


def unheard(tx: Transaction, asked_before: datetime) -> list[Job]:
    """Running jobs whose worker was asked to stop before that moment and has not."""
    return _all(
        tx,
        _ACTIVE_NOW,
        _jobs.c.state == JobState.RUNNING,
        _jobs.c.cancel_requested_at < asked_before,
    )


def never_started(tx: Transaction, now: datetime) -> list[Job]:
    """Queued jobs that no worker took in time."""
    return _all(
        tx,
        _QUEUED,
        _jobs.c.start_deadline_at.is_not(None),
        _jobs.c.start_deadline_at < now,
    )


_NO_LIMIT = 2**31 - 1  # what was accepted once is not turned away

# Moves. Each answers the job as it is now, or None when the guard did not hold: somebody else
# moved it first, and the caller's knowledge is stale.


def claim(tx: Transaction, job: Job, *, lease_until: datetime) -> Job | None:
    return _move(
        tx, job, JobState.STARTING, attempt=job.attempt + 1, lease_until=lease_until, stage=None
    )


def begin(tx: Transaction, job: Job, *, now: datetime, lease: timedelta) -> Job | None:
    return _move(
        tx,
        job,
        JobState.RUNNING,
        started_at=now,
        lease_until=now + lease,
        run_deadline_at=now + timedelta(seconds=job.timeout_seconds),
    )


def requeue(tx: Transaction, job: Job, *, run_at: datetime) -> Job | None:
    moved = _move(
        tx,
        job,
        JobState.QUEUED,
        run_at=run_at,
        lease_until=None,
        run_deadline_at=None,
        stage=None,
        stage_detail=None,
    )
    if moved is not None:
        keys.enter_queue(tx, job.key_id, limit=_NO_LIMIT)
        tx.ring(f"queue:{job.request.model}")
    return moved


def succeed(
    tx: Transaction, job: Job, outcome: Outcome, *, now: datetime, expires_at: datetime, usd: float
) -> Job | None:
    return _finish(
        tx,
        job,
        JobState.SUCCEEDED,
        now,
        result=outcome.facts.model_dump(mode="json"),
        timings_ms=outcome.timings_ms,
        gpu=outcome.gpu,
        gpu_ms=round(outcome.gpu_seconds * 1000),
        actual_microusd=round(usd * 1e6),
        expires_at=expires_at,
        progress=1.0,
    )


def fail(tx: Transaction, job: Job, failure: Failure, *, now: datetime) -> Job | None:
    return _finish(
        tx,
        job,
        JobState.FAILED,
        now,
        stage=failure.stage or job.stage,
        error_kind=failure.kind,
        error_code=failure.code,
        error_message=failure.message,
    )


def cancel(tx: Transaction, job: Job, *, now: datetime) -> Job | None:
    return _finish(
        tx, job, JobState.CANCELED, now, cancel_requested_at=job.cancel_requested_at or now
    )


def expire(tx: Transaction, job: Job, *, now: datetime) -> Job | None:
    return _finish(tx, job, JobState.EXPIRED, now)


def _finish(tx: Transaction, job: Job, to: JobState, now: datetime, **values: Any) -> Job | None:
    return _move(tx, job, to, finished_at=now, lease_until=None, run_deadline_at=None, **values)


def _move(tx: Transaction, job: Job, to: JobState, **values: Any) -> Job | None:
    """The one door between states: guarded by the state, and by the fence, which it bumps.

    The bump is what tells a late worker apart: whatever it still believes, its fence is old.
    Success keeps the fence, for it names the folder in which the finished bytes lie.
    """
    fence = job.fence if to is JobState.SUCCEEDED else job.fence + 1
    moved = _update(tx, job, sources(to), state=to, fence=fence, **values)
    if moved is not None and job.state is JobState.QUEUED:
        keys.leave_queue(tx, job.key_id)
    return moved


# Changes within a state.


def rebegin(tx: Transaction, job: Job, *, now: datetime, lease: timedelta) -> Job | None:
    """The same call began twice: the newer container goes on, the older one's fence is stale."""
    return _update(tx, job, {JobState.RUNNING}, fence=job.fence + 1, lease_until=now + lease)


def beat(
    tx: Transaction, job: Job, progress: Progress, *, now: datetime, lease: timedelta
) -> Job | None:
    """Extend the lease; the fraction shown never falls, and is 1 only for a finished job."""
    return _update(
        tx,
        job,
        {JobState.RUNNING},
        stage=progress.stage,
        stage_detail=progress.detail,
        progress=max(job.progress, min(progress.fraction, 0.99)),
        lease_until=now + lease,
    )


def wish_cancel(tx: Transaction, job: Job, *, now: datetime) -> Job | None:
    return _update(tx, job, {JobState.RUNNING}, cancel_requested_at=job.cancel_requested_at or now)


def delete(tx: Transaction, job: Job) -> None:
    tx.execute(sa.delete(_jobs).where(_jobs.c.id == job.id))
    tx.ring(job.id)


def _update(
    tx: Transaction, job: Job, states: set[JobState] | frozenset[JobState], **values: Any
) -> Job | None:
    statement = (
        sa.update(_jobs)
        .where(_jobs.c.id == job.id, _jobs.c.state.in_(states), _jobs.c.fence == job.fence)
        .values(**values)
        .returning(_jobs)
    )
    row = tx.execute(statement).mappings().first()
    if row is None:
        return None
    tx.ring(job.id)
    return _to_job(row)


def _all(tx: Transaction, *conditions: sa.ColumnElement[bool] | sa.TextClause) -> list[Job]:
    statement = sa.select(_jobs).where(*conditions).order_by(_jobs.c.id).limit(500)
    return [_to_job(row) for row in tx.execute(statement).mappings()]


def _to_row(job: Job) -> dict[str, Any]:
    """The columns of a job as it is submitted; what only a worker fills is left to its default."""
    return {
        "id": job.id,
        "key_id": job.key_id,
        "state": job.state,
        "priority": _PRIORITIES[job.priority],
        "model": job.request.model,
        "request": job.request.model_dump(),
        "user_metadata": job.metadata,
        "created_at": job.created_at,
        "run_at": job.run_at,
        "start_deadline_at": job.start_deadline_at,
        "timeout_seconds": job.timeout_seconds,
        "max_attempts": job.max_attempts,
        "estimated_microusd": round(job.estimated_usd * 1e6),
        "rate_source": job.rate_source,
        "retry_of": job.retry_of,
        "traceparent": job.traceparent,
    }


def _to_job(row: Mapping[Any, Any]) -> Job:
    values = {name: row[name] for name in _SAME}
    actual = row["actual_microusd"]
    return Job(
        **values,
        priority=_PRIORITY_WORDS[row["priority"]],
        metadata=row["user_metadata"],
        gpu_seconds=row["gpu_ms"] / 1000,
        estimated_usd=row["estimated_microusd"] / 1e6,
        actual_usd=None if actual is None else actual / 1e6,
        error=_to_error(row),
    )


# Columns that a Job carries under the same name and in the same unit.
_SAME = tuple(name for name in Job.model_fields if name in _jobs.c and name != "priority")


def _to_error(row: Mapping[Any, Any]) -> JobError | None:
    if row["error_kind"] is None:
        return None
    return JobError(
        code=row["error_code"],
        kind=row["error_kind"],
        message=row["error_message"],
        retryable=row["error_kind"] in RETRYABLE,
        stage=row["stage"],
        attempt=row["attempt"],
    )
