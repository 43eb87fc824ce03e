"""The paused_models and warm_models tables: models whose jobs wait, and those kept warm."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from service.domain import topics
from service.store.admin_tables import WarmModelRow
from service.store.columns import micros
from service.store.job_rows import job_table
from service.store.jobs import paused_table
from service.store.tables import QUEUED
from service.store.transaction import Transaction


def every(tx: Transaction) -> dict[str, datetime]:
    """Return since when each paused model is paused."""
    return {row.model: row.paused_at for row in tx.execute(_EVERY)}


_EVERY = sa.select(paused_table)


def insert(tx: Transaction, model: str, now: datetime) -> bool:
    """Insert a pause; False if the model is paused already."""
    insert = sqlite.insert if tx.connection.dialect.name == "sqlite" else postgresql.insert
    new = insert(paused_table).values(model=model, paused_at=now).on_conflict_do_nothing()
    if tx.execute(new.returning(paused_table.c.model)).first() is None:
        return False
    tx.notify(topics.of_queue(model))
    return True


def delete(tx: Transaction, model: str) -> datetime | None:
    """Delete the pause and return since when it was. None, also if another transaction deletes it
    at the same time: then that one sees the pause."""
    columns = paused_table.c
    statement = sa.delete(paused_table).where(columns.model == model).returning(columns.paused_at)
    paused_at: datetime | None = tx.execute(statement).scalar()
    if paused_at is not None:
        tx.notify(topics.of_queue(model))
    return paused_at


_warm: sa.Table = WarmModelRow.__table__  # type: ignore[attr-defined]


def warm_containers(tx: Transaction) -> dict[str, int]:
    """Return how many containers of each model an admin keeps warm."""
    return {row.model: row.containers for row in tx.execute(_WARM)}


_WARM = sa.select(_warm)


def set_warm_containers(tx: Transaction, model: str, containers: int) -> None:
    tx.execute(sa.delete(_warm).where(_warm.c.model == model))
    tx.execute(sa.insert(_warm), {"model": model, "containers": containers})


def extend_start_deadlines(tx: Transaction, model: str, paused_at: datetime, now: datetime) -> None:
    """Give the queued jobs of a model as much longer to start as they have waited since then."""
    jobs = job_table.c
    run_at, paused, end = _micros(jobs.run_at), micros(paused_at), micros(now)
    waited_from = sa.case((run_at > paused, run_at), else_=paused)
    waited = sa.case((waited_from < end, end - waited_from), else_=0)
    tx.execute(
        sa.update(job_table)
        .where(sa.text(QUEUED), jobs.model == model, jobs.start_deadline_at.is_not(None))
        .values(start_deadline_at=_micros(jobs.start_deadline_at) + waited)
    )


def _micros(instant: sa.ColumnElement[datetime]) -> sa.ColumnElement[int]:
    return sa.type_coerce(instant, sa.BigInteger)
