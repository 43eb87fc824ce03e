"""The events table: what happened to jobs, in one order for every process."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from service.domain import topics
from service.domain.event import Event, EventId
from service.domain.ids import JobId, KeyId
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


def page(
    tx: Transaction, key_id: KeyId, *, after: EventId, size: int, job_id: JobId | None = None
) -> list[Event]:
    """A key's events, or those of one job, oldest first, beginning behind `after`."""
    conditions = [_events.c.key_id == key_id, _events.c.id > after]
    if job_id is not None:
        conditions.append(_events.c.job_id == job_id)
    statement = sa.select(_events).where(*conditions).order_by(_events.c.id).limit(size)
    return [_to_event(row) for row in tx.execute(statement).mappings()]


def delete_of_job(tx: Transaction, job_id: JobId) -> None:
    """Delete a job's events, but for those of which a delivery has still to be rendered."""
    tx.execute(sa.delete(_events).where(_events.c.job_id == job_id, ~_is_needed()))


def delete_old(tx: Transaction, before: datetime, *, size: int) -> int:
    """Delete up to `size` events recorded before that moment, with the same exception."""
    old = sa.select(_events.c.id).where(_events.c.created_at < before, ~_is_needed()).limit(size)
    return tx.execute(sa.delete(_events).where(_events.c.id.in_(old))).rowcount


def has_old(tx: Transaction, before: datetime) -> bool:
    statement = sa.select(_events.c.id).where(_events.c.created_at < before, ~_is_needed())
    return tx.execute(statement.limit(1)).first() is not None


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
