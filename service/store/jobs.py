"""The jobs table: what is put in and looked up. What changes a job is in moves.py."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from service.domain.job import Job, JobFilter, JobId, JobState, KeyId
from service.store.database import Transaction
from service.store.job_rows import PRIORITIES, job_table, to_job, to_row
from service.store.tables import ACTIVE_STATES, QUEUED

_QUEUED = sa.text(QUEUED)
_ACTIVE_NOW = sa.text(ACTIVE_STATES)

# The statements of the busiest paths are built once: building one costs more than running it.


def _bound(name: str, column: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=job_table.c[column].type)


_BY_ID = sa.select(job_table).where(job_table.c.id == _bound("job_id", "id"))
_BY_ID_AND_KEY = _BY_ID.where(job_table.c.key_id == _bound("owner", "key_id"))
_ACTIVE = sa.select(sa.func.count()).select_from(job_table).where(_ACTIVE_NOW)
_LINE = (
    sa.select(
        job_table.c.priority, sa.type_coerce(job_table.c.run_at, sa.BigInteger), job_table.c.id
    )
    .where(_QUEUED)
    .order_by(job_table.c.priority, job_table.c.run_at, job_table.c.id)
)
_INSERT = sa.insert(job_table)


def insert(tx: Transaction, job: Job) -> None:
    """A new queued job; its place in its key's queue is already counted."""
    tx.execute(_INSERT, to_row(job))
    tx.ring(f"queue:{job.request.model}")


def get(tx: Transaction, job_id: JobId, *, key_id: KeyId | None = None) -> Job | None:
    """The job, if it exists and, where `key_id` is given, belongs to that key."""
    statement = _BY_ID if key_id is None else _BY_ID_AND_KEY
    row = tx.execute(statement, {"job_id": job_id, "owner": key_id}).mappings().first()
    return None if row is None else to_job(row)


def page(
    tx: Transaction,
    key_id: KeyId,
    *,
    size: int,
    after: JobId | None = None,
    newest_first: bool = True,
    wanted: JobFilter,
) -> list[Job]:
    """Jobs of a key in order of creation, beginning behind `after`."""
    order = sa.desc(job_table.c.id) if newest_first else sa.asc(job_table.c.id)
    statement = sa.select(job_table).where(job_table.c.key_id == key_id).order_by(order).limit(size)
    if after is not None:
        statement = statement.where(
            job_table.c.id < after if newest_first else job_table.c.id > after
        )
    for column, allowed in (
        (job_table.c.state, wanted.states),
        (job_table.c.model, wanted.models),
        (job_table.c.id, wanted.ids),
    ):
        if allowed:
            statement = statement.where(column.in_(allowed))
    for label, text in wanted.metadata.items():
        statement = statement.where(job_table.c.user_metadata[label].as_string() == text)
    return [to_job(row) for row in tx.execute(statement).mappings()]


def count_running(tx: Transaction) -> int:
    return int(tx.execute(_ACTIVE).scalar_one())


# A job's place among those that wait, in the order in which they are claimed.
Place = tuple[int, int, str]


def line(tx: Transaction) -> list[Place]:
    """The places of all queued jobs, first to last."""
    return [tuple(row) for row in tx.execute(_LINE)]


def place(job: Job) -> Place:
    return PRIORITIES[job.priority], round(job.run_at.timestamp() * 1_000_000), job.id


def next_queued(tx: Transaction, models: list[str], now: datetime) -> Job | None:
    """The job that is due first among those of `models`, left where it is."""
    row = tx.execute(_due(models, now)).mappings().first()
    return None if row is None else to_job(row)


def _due(models: list[str], now: datetime) -> sa.Select[Any]:
    return (
        sa.select(job_table)
        .where(_QUEUED, job_table.c.run_at <= now, job_table.c.model.in_(models))
        .order_by(job_table.c.priority, job_table.c.run_at, job_table.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def lapsed(tx: Transaction, now: datetime) -> list[Job]:
    """Jobs whose worker has been silent for longer than its lease."""
    return _all(tx, _ACTIVE_NOW, job_table.c.lease_until < now)


def overdue(tx: Transaction, now: datetime) -> list[Job]:
    """Jobs that have run for longer than their timeout."""
    return _all(
        tx, _ACTIVE_NOW, job_table.c.state == JobState.RUNNING, job_table.c.run_deadline_at < now
    )


def unheard(tx: Transaction, asked_before: datetime) -> list[Job]:
    """Running jobs whose worker was asked to stop before that moment and has not."""
    return _all(
        tx,
        _ACTIVE_NOW,
        job_table.c.state == JobState.RUNNING,
        job_table.c.cancel_requested_at < asked_before,
    )


def never_started(tx: Transaction, now: datetime) -> list[Job]:
    """Queued jobs that no worker took in time."""
    return _all(
        tx,
        _QUEUED,
        job_table.c.start_deadline_at.is_not(None),
        job_table.c.start_deadline_at < now,
    )


def delete(tx: Transaction, job: Job) -> None:
    tx.execute(sa.delete(job_table).where(job_table.c.id == job.id))
    tx.ring(job.id)


def _all(tx: Transaction, *conditions: sa.ColumnElement[bool] | sa.TextClause) -> list[Job]:
    statement = sa.select(job_table).where(*conditions).order_by(job_table.c.id).limit(500)
    return [to_job(row) for row in tx.execute(statement).mappings()]
