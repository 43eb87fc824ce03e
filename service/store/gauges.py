"""Figures of this moment, for /metrics: what waits, what runs, and which webhooks are not sent."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from service.domain.job import RANKS
from service.store.job_rows import job_table
from service.store.tables import ACTIVE_STATES, PENDING, QUEUED, DeliveryRow
from service.store.transaction import Transaction

_RANK_NAMES = {rank: name for name, rank in RANKS.items()}


class Queued(NamedTuple):
    """The queued jobs of a model and priority, and when the first of them was submitted."""

    model: str
    priority: str
    number: int
    oldest_at: datetime


def queued(tx: Transaction) -> Iterator[Queued]:
    """Count the queued jobs by model and priority."""
    columns = (job_table.c.model, job_table.c.priority)
    oldest = sa.func.min(job_table.c.created_at)
    statement = sa.select(*columns, sa.func.count(), oldest).where(sa.text(QUEUED))
    rows: list[Any] = list(tx.execute(statement.group_by(*columns)))
    for model, rank, number, oldest_at in rows:
        yield Queued(model, _RANK_NAMES[rank], number, oldest_at)


def active(tx: Transaction) -> dict[tuple[str, str], int]:
    """Count the jobs that are starting or running, by model and state."""
    columns = (job_table.c.model, job_table.c.state)
    statement = sa.select(*columns, sa.func.count()).where(sa.text(ACTIVE_STATES))
    rows: list[Any] = list(tx.execute(statement.group_by(*columns)))
    return {(model, state): number for model, state, number in rows}


def pending_deliveries(tx: Transaction) -> int:
    """Count the webhook deliveries that are still to be sent."""
    # Of times, which all of them have: to count rows, SQLite would read the index of all states.
    next_at = DeliveryRow.__table__.c.next_at  # type: ignore[attr-defined]
    statement = sa.select(sa.func.count(next_at)).where(sa.text(PENDING))
    return int(tx.execute(statement).scalar_one())
