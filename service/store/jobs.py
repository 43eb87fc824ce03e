"""The jobs table: what is put in and looked up. What moves a job on is in moves.py."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobFilter, JobState, left_ms
from service.domain.queue_order import Waiting
from service.store import deliveries, labels
from service.store.job_rows import job_table, to_job, to_row
from service.store.tables import ACTIVE_STATES, INPUTS_KEPT, QUEUED, KeyRow
from service.store.transaction import Transaction

_QUEUED = sa.text(QUEUED)
_ACTIVE_NOW = sa.text(ACTIVE_STATES)


class Candidate(NamedTuple):
    """What a claim may take, in the order of its fields."""

    priority: int
    served: int
    run_at: datetime
    id: str
    key_id: str
    model: str


# The statements of the busiest paths are built once: building one costs more than running it.


def _bound(name: str, column: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=job_table.c[column].type)


_BY_ID = sa.select(job_table).where(job_table.c.id == _bound("job_id", "id"))
_BY_ID_AND_KEY = _BY_ID.where(job_table.c.key_id == _bound("owner", "key_id"))
_BY_IDS = sa.select(job_table).where(job_table.c.id.in_(sa.bindparam("ids", expanding=True)))
_ACTIVE = sa.select(sa.func.count()).select_from(job_table).where(_ACTIVE_NOW)
_WAITING = sa.select(*(job_table.c[name] for name in Waiting._fields)).where(_QUEUED)
_BUSY = sa.select(job_table.c.model, job_table.c.expected_ms, job_table.c.attempt_progress).where(
    _ACTIVE_NOW
)
_INSERT = sa.insert(job_table)


def insert(tx: Transaction, new: Sequence[Job]) -> None:
    """New queued jobs; their places in their keys' queues are already counted."""
    tx.execute(_INSERT, [to_row(job) for job in new])
    labels.insert(tx, new)
    for model in {job.request.model for job in new}:
        tx.notify(f"queue:{model}")


def get(tx: Transaction, job_id: JobId, *, key_id: KeyId | None = None) -> Job | None:
    """The job, if it exists and, where `key_id` is given, belongs to that key."""
    statement = _BY_ID if key_id is None else _BY_ID_AND_KEY
    row = tx.execute(statement, {"job_id": job_id, "owner": key_id}).mappings().first()
    return None if row is None else to_job(row)


def get_all(tx: Transaction, ids: Sequence[JobId]) -> dict[JobId, Job]:
    """Those of `ids` that are jobs."""
    rows = tx.execute(_BY_IDS, {"ids": list(ids)}).mappings()
    return {job.id: job for job in map(to_job, rows)}


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
    table, job_id, conditions = labels.source(key_id, list(wanted.metadata.items()))
    if after is not None:
        conditions.append(job_id < after if newest_first else job_id > after)
    if wanted.ids:
        conditions.append(job_id.in_(wanted.ids))
    if wanted.models:
        conditions.append(job_table.c.model.in_(wanted.models))
    statement = sa.select(job_table).select_from(table).where(*conditions)
    order = sa.desc if newest_first else sa.asc
    # One state after the other, each in order by its index: of several together it would be read to
    # the last row before the first was known. Labels are in order whatever the states.
    apart = [[state] for state in wanted.states]
    each_states = [list(wanted.states)] if wanted.metadata and wanted.states else apart
    pages = [
        statement.where(job_table.c.state.in_(states)).order_by(order(job_id)).limit(size)
        for states in each_states
    ] or [statement.order_by(order(job_id)).limit(size)]
    rows = sa.union_all(*(sa.select(each.subquery()) for each in pages))
    found = tx.execute(rows.order_by(order("id")).limit(size)).mappings()
    return [to_job(row) for row in found]


def count_running(tx: Transaction) -> int:
    return int(tx.execute(_ACTIVE).scalar_one())


def count_active(tx: Transaction, model: str) -> int:
    """Jobs of one model that are starting or running."""
    return int(tx.execute(_ACTIVE.where(job_table.c.model == model)).scalar_one())


def hold(tx: Transaction, job_id: JobId, *, key_id: KeyId | None = None) -> Job | None:
    """The same as `get`, and nobody else changes it until this transaction ends."""
    statement = _BY_ID if key_id is None else _BY_ID_AND_KEY
    values = {"job_id": job_id, "owner": key_id}
    row = tx.execute(statement.with_for_update(), values).mappings().first()
    return None if row is None else to_job(row)


def waiting(tx: Transaction) -> list[Waiting]:
    """All queued jobs, in no order."""
    return [Waiting._make(row) for row in tx.execute(_WAITING)]


def busy(tx: Transaction) -> list[tuple[str, float]]:
    """The model of each active job, and the milliseconds that it may still take."""
    return [
        (row.model, left_ms(row.expected_ms, row.attempt_progress)) for row in tx.execute(_BUSY)
    ]


def candidates(tx: Transaction, models: list[str], now: datetime, *, limit: int) -> list[Candidate]:
    """The first due job of every key that has one and fewer than `limit` active ones, best first.

    Best is the highest priority, and within it the key whose last turn is longest ago.
    """
    found = [
        Candidate(row.priority, row.served, row.run_at, row.id, row.key_id, model)
        for model in models
        for row in tx.execute(_CANDIDATES, {"model": model, "now": now, "limit": limit})
    ]
    return sorted(found)


def take_first(tx: Transaction, candidate: Candidate, now: datetime) -> Job | None:
    """The key's first due job of that priority and model that no other claim holds."""
    values = {"model": candidate.model, "now": now, "owner": candidate.key_id}
    values["priority"] = candidate.priority
    row = tx.execute(_TAKE_FIRST, values).mappings().first()
    return None if row is None else to_job(row)


_first = job_table.alias("first")


def _in_time(jobs: Any) -> sa.ColumnElement[bool]:
    """Past its start deadline a job is another model's, or expired, as soon as a tick sees it."""
    deadline = jobs.c.start_deadline_at
    return sa.or_(deadline.is_(None), deadline >= _bound("now", "run_at"))


_keys: sa.Table = KeyRow.__table__  # type: ignore[attr-defined]
_FIRST_OF_KEY = (
    sa.select(_first.c.id)
    .where(
        sa.text(f"first.{QUEUED}"),
        _first.c.model == sa.bindparam("model"),
        _first.c.key_id == _keys.c.id,
        _first.c.run_at <= _bound("now", "run_at"),
        _in_time(_first),
    )
    .order_by(_first.c.priority, _first.c.run_at, _first.c.id)
    .limit(1)
    .correlate(_keys)
    .scalar_subquery()
)
_CANDIDATES = (
    sa.select(
        job_table.c.priority, _keys.c.served, job_table.c.run_at, job_table.c.id, job_table.c.key_id
    )
    .select_from(_keys)
    .join(job_table, job_table.c.id == _FIRST_OF_KEY)
    .where(_keys.c.queued > 0, _keys.c.active < sa.bindparam("limit", type_=sa.BigInteger))
)
_TAKE_FIRST = (
    sa.select(job_table)
    .where(
        _QUEUED,
        job_table.c.model == sa.bindparam("model"),
        job_table.c.key_id == _bound("owner", "key_id"),
        job_table.c.priority == sa.bindparam("priority"),
        job_table.c.run_at <= _bound("now", "run_at"),
        _in_time(job_table),
    )
    .order_by(job_table.c.run_at, job_table.c.id)
    .limit(1)
    .with_for_update(skip_locked=True)
)


def lapsed(tx: Transaction, now: datetime, longest: timedelta) -> list[Job]:
    """Jobs whose worker has been silent for longer than its lease.

    No lease is longer than `longest`: one that seems so is of before the clock was set back, and
    no heartbeat has come since.
    """
    lease_until = job_table.c.lease_until
    return _all(tx, _ACTIVE_NOW, sa.or_(lease_until < now, lease_until > now + longest))


def put_off(tx: Transaction, after: datetime) -> list[Job]:
    """Queued jobs that may not run before that moment."""
    return _all(tx, _QUEUED, job_table.c.run_at > after)


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


def unfinished_models(tx: Transaction) -> set[str]:
    """The models of all jobs that are queued or active."""
    each = [
        sa.select(job_table.c.model).where(state).distinct() for state in (_QUEUED, _ACTIVE_NOW)
    ]
    return set(tx.execute(sa.union(*each)).scalars())


def queued_for(tx: Transaction, models: set[str], *, size: int) -> list[Job]:
    """Queued jobs that wait for one of these models."""
    return _all(tx, _QUEUED, job_table.c.model.in_(sorted(models)), size=size)


def to_purge(tx: Transaction, now: datetime, *, size: int) -> list[Job]:
    """Final jobs of which something is to be thrown away, the longest due first."""
    statement = (
        sa.select(job_table)
        .where(job_table.c.purge_at.is_not(None), job_table.c.purge_at <= now)
        .order_by(job_table.c.purge_at)
        .limit(size)
    )
    return [to_job(row) for row in tx.execute(statement).mappings()]


def purge_again(tx: Transaction, job: Job, at: datetime, *, inputs_gone: bool) -> None:
    changes: dict[str, Any] = {"purge_at": at} | ({"input_bytes": 0} if inputs_gone else {})
    tx.execute(sa.update(job_table).where(job_table.c.id == job.id).values(changes))


def input_bytes(tx: Transaction, key_id: KeyId) -> int:
    """How much is kept of what this key's jobs were given."""
    return int(tx.execute(_INPUT_BYTES, {"owner": key_id}).scalar_one())


_INPUT_BYTES = sa.select(sa.func.coalesce(sa.func.sum(job_table.c.input_bytes), 0)).where(
    sa.text(INPUTS_KEPT), job_table.c.key_id == _bound("owner", "key_id")
)


def known(tx: Transaction, ids: list[str]) -> set[str]:
    """Those of `ids` that are jobs."""
    return set(tx.execute(sa.select(job_table.c.id).where(job_table.c.id.in_(ids))).scalars())


def delete(tx: Transaction, job: Job) -> None:
    deliveries.forget_of(tx, job.id)
    labels.delete(tx, job)
    tx.execute(sa.delete(job_table).where(job_table.c.id == job.id))
    tx.notify(job.id)


def _all(
    tx: Transaction, *conditions: sa.ColumnElement[bool] | sa.TextClause, size: int = 500
) -> list[Job]:
    statement = sa.select(job_table).where(*conditions).order_by(job_table.c.id).limit(size)
    return [to_job(row) for row in tx.execute(statement).mappings()]
