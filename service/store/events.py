"""The events table: what happened to jobs, in one order for every process."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from service.domain import topics
from service.domain.event import PROGRESS_EVENT, Event
from service.domain.ids import EventId, JobId, KeyId
from service.domain.job import Job
from service.store.tables import DeliveryRow, EventRow
from service.store.transaction import Transaction

_events: sa.Table = EventRow.__table__  # type: ignore[attr-defined]
_deliveries: sa.Table = DeliveryRow.__table__  # type: ignore[attr-defined]

# Held from the first event of a transaction to its end: else a process could commit a lower id
# after a reader has seen a higher one, and the reader would never come back for it.
_IN_ORDER = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('rushes.events', 0))")


def append(
    tx: Transaction, kind: str, key_id: KeyId, *, now: datetime, job: Job | None = None
) -> EventId:
    """Record an event; ids rise in the order of commits."""
    if tx.connection.dialect.name == "postgresql":
        tx.connection.execute(_IN_ORDER)
    values = {
        "key_id": key_id,
        "job_id": None if job is None else job.id,
        "kind": kind,
        "snapshot": None if job is None else job.model_dump(mode="json"),
        "created_at": now,
    }
    if kind != PROGRESS_EVENT:
        tx.notify(topics.of_all_jobs(key_id))
    return EventId(
        tx.execute(sa.insert(_events).values(values).returning(_events.c.id)).scalar_one()
    )


def delete_superseded(tx: Transaction, newest: EventId, job_id: JobId, kind: str) -> None:
    """Delete earlier events of this kind, which `newest` has made out of date."""
    tx.execute(
        sa.delete(_events).where(
            _events.c.job_id == job_id,
            _events.c.kind == kind,
            _events.c.id < newest,
            ~_is_needed(),
        )
    )


def get(tx: Transaction, event_id: EventId) -> Event | None:
    row = tx.execute(sa.select(_events).where(_events.c.id == event_id)).mappings().first()
    return None if row is None else _to_event(row)


# Progress is out of date with the next one, so nobody may resume behind its id.
_IS_KEPT = _events.c.kind != PROGRESS_EVENT
_all = _events.alias("all_events")
_NEWEST = (
    sa.select(_all.c.id).where(_all.c.kind != PROGRESS_EVENT).order_by(_all.c.id.desc()).limit(1)
)

# Built once: building them costs more than running them, and streams do so at each commit.
_BY_ID = sa.select(_events.c.id).where(_events.c.id == sa.bindparam("event"))
_PAGE = (
    sa.select(_events)
    .where(
        _events.c.key_id.in_(sa.bindparam("key_ids", expanding=True)),
        _events.c.id > sa.bindparam("after", type_=_events.c.id.type),
        _IS_KEPT,
        _events.c.snapshot.is_not(None),
    )
    .order_by(_events.c.id)
    .limit(sa.bindparam("size", type_=sa.Integer))
)
_PAGE_OF_JOB = _PAGE.where(_events.c.job_id == sa.bindparam("job", type_=_events.c.job_id.type))


def newest(tx: Transaction) -> EventId:
    """Return the newest id behind which a reader can resume; 0 if nothing was recorded."""
    return EventId(tx.execute(_NEWEST).scalar() or 0)


def exists(tx: Transaction, event_id: EventId) -> bool:
    return tx.execute(_BY_ID, {"event": event_id}).first() is not None


def page(
    tx: Transaction,
    key_ids: Sequence[KeyId],
    *,
    after: EventId,
    size: int,
    job_id: JobId | None = None,
) -> list[Event]:
    """List changes of state of these keys' jobs, or of one job, oldest first, behind `after`."""
    statement = _PAGE if job_id is None else _PAGE_OF_JOB
    values = {"key_ids": key_ids, "after": after, "size": size, "job": job_id}
    return [_to_event(row) for row in tx.execute(statement, values).mappings()]


def erase_job(tx: Transaction, job_id: JobId) -> None:
    """Delete what events say of this job, unless a delivery has still to be rendered from it. The
    ids stay, since readers may resume behind them."""
    of_job = sa.and_(_events.c.job_id == job_id, ~_is_needed())
    tx.execute(sa.delete(_events).where(of_job, ~_IS_KEPT))
    tx.execute(sa.update(_events).where(of_job).values(job_id=None, snapshot=None))


def delete_old(tx: Transaction, before: datetime, *, size: int) -> int:
    """Delete up to `size` events recorded before that moment, but for those of which a delivery has
    still to be rendered, and the newest: readers may resume behind it, however long ago it was."""
    return tx.execute(sa.delete(_events).where(_events.c.id.in_(_old(before, size)))).rowcount


def has_old(tx: Transaction, before: datetime) -> bool:
    return tx.execute(_old(before, 1)).first() is not None


def _old(before: datetime, size: int) -> sa.Select[tuple[int]]:
    is_old = sa.and_(_events.c.created_at < before, ~_is_needed())
    not_newest = _events.c.id != sa.func.coalesce(_NEWEST.scalar_subquery(), 0)
    return sa.select(_events.c.id).where(is_old, not_newest).limit(size)


def _is_needed() -> sa.ColumnElement[bool]:
    return sa.exists().where(_deliveries.c.event_id == _events.c.id, _deliveries.c.body.is_(None))


def _to_event(row: Mapping[Any, Any]) -> Event:
    return Event(
        id=row["id"],
        key_id=row["key_id"],
        job_id=row["job_id"],
        kind=row["kind"],
        job=None if row["snapshot"] is None else Job.model_validate(row["snapshot"]),
        created_at=row["created_at"],
    )
