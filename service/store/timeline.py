"""The timeline table, and shifting of the deadlines in other tables."""

import json
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel

from service.domain.clock import ClockUncertainty, Timeline
from service.store.admin_tables import PausedModelRow, SessionRow
from service.store.tables import (
    ACTIVE_STATES,
    PENDING,
    QUEUED,
    AttemptRow,
    DeliveryRow,
    EndpointRow,
    IdempotencyRow,
    JobRow,
    KeyRow,
    LeaseRow,
    TimelineRow,
)
from service.store.transaction import Transaction

_MICROSECOND = timedelta(microseconds=1)
_OPEN = sa.text(f"({QUEUED} OR {ACTIVE_STATES})")


def _table(row: type[SQLModel]) -> sa.Table:
    table: sa.Table = row.__table__  # type: ignore[attr-defined]
    return table


_timeline, _jobs, _attempts = _table(TimelineRow), _table(JobRow), _table(AttemptRow)
_deliveries, _idempotency = _table(DeliveryRow), _table(IdempotencyRow)
_keys, _endpoints, _turns = _table(KeyRow), _table(EndpointRow), _table(LeaseRow)
_pauses, _sessions = _table(PausedModelRow), _table(SessionRow)
_OF_JOBS = (
    *("run_at", "speech_at", "lease_until", "run_deadline_at", "start_deadline_at"),
    "cancel_requested_at",
)


def read(tx: Transaction) -> Timeline | None:
    row = tx.execute(sa.select(_timeline)).mappings().first()
    if row is None:
        return None
    doubts = (
        ClockUncertainty(microseconds * _MICROSECOND, datetime.fromisoformat(until))
        for microseconds, until in json.loads(row["doubts"])
    )
    return Timeline(row["seen_at"], tuple(doubts))


def replace(tx: Transaction, current: Timeline | None, new: Timeline) -> bool:
    """Write `new` with an optimistic lock: False if the row is not `current` any more."""
    values = {
        "seen_at": new.seen_at,
        "doubts": json.dumps(
            [(doubt.amount // _MICROSECOND, doubt.until.isoformat()) for doubt in new.doubts]
        ),
    }
    if current is not None:
        statement = (
            sa.update(_timeline).where(_timeline.c.seen_at == current.seen_at).values(values)
        )
        return tx.execute(statement).rowcount == 1
    insert = sqlite.insert if tx.connection.dialect.name == "sqlite" else postgresql.insert
    first = insert(_timeline).values(id=1, **values).on_conflict_do_nothing()
    return tx.execute(first.returning(_timeline.c.id)).first() is not None


def move_all(tx: Transaction, by: timedelta, now: datetime) -> None:
    """Shift all future deadlines, and the starts of open attempts and pauses, by a jump of the
    clock, so that each comes after as long as before. `now` is the time before the jump."""
    moving: list[tuple[sa.Table, Any, tuple[str, ...]]] = [
        (_jobs, _OPEN, _OF_JOBS),
        (_attempts, _attempts.c.ended_at.is_(None), ("created_at", "started_at", "heartbeat_at")),
        (_deliveries, sa.text(PENDING), ("next_at", "lease_until")),
        (_idempotency, _idempotency.c.expires_at > now, ("expires_at",)),
        (_keys, _keys.c.old_secret_until > now, ("old_secret_until",)),
        (_endpoints, _endpoints.c.old_secret_until > now, ("old_secret_until",)),
        (_turns, sa.true(), ("until",)),
        (_endpoints, _endpoints.c.failing_since.is_not(None), ("failing_since",)),
        (_pauses, sa.true(), ("paused_at",)),
        (_sessions, _sessions.c.expires_at > now, ("expires_at",)),
    ]
    for table, condition, names in moving:
        _move(tx, table, names, condition, by)


def move_run_deadlines(tx: Transaction, by: timedelta) -> None:
    """Extend the deadlines of active jobs by time in which no worker could report."""
    _move(tx, _jobs, ("run_deadline_at",), sa.text(ACTIVE_STATES), by)


def _move(
    tx: Transaction, table: sa.Table, names: tuple[str, ...], condition: Any, by: timedelta
) -> None:
    numbers = {name: sa.type_coerce(table.c[name], sa.BigInteger) for name in names}
    values = {name: column + by // _MICROSECOND for name, column in numbers.items()}
    tx.execute(sa.update(table).where(condition).values(values))


def newest_ids(tx: Transaction) -> list[str]:
    """Return the highest job id and delivery id."""
    ids = [
        tx.execute(sa.select(sa.func.max(table.c.id))).scalar() for table in (_jobs, _deliveries)
    ]
    return [id_ for id_ in ids if id_ is not None]
