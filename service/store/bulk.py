"""The tables of bulk actions and of their jobs."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from service.domain.bulk import (
    MAX_JOBS,
    STATES_OF,
    BulkAct,
    BulkAction,
    BulkId,
    BulkItem,
    BulkState,
    Survey,
)
from service.domain.ids import JobId, KeyId
from service.domain.job import JobFilter, Scope
from service.store import job_lists
from service.store.admin_tables import BulkActionRow, BulkItemRow
from service.store.job_rows import job_table
from service.store.transaction import Transaction

_actions: sa.Table = BulkActionRow.__table__  # type: ignore[attr-defined]
_items: sa.Table = BulkItemRow.__table__  # type: ignore[attr-defined]
_OPEN = sa.text("is_changed IS NULL")


def survey(tx: Transaction, act: BulkAct, scope: Scope, filters: JobFilter) -> Survey:
    """Count the jobs of a filter that can be acted on, and sum their estimates; it stops at one
    job more than an action may have."""
    estimate = job_table.c.estimated_microusd
    if filters.words:
        rows = _with_words(tx, act, scope, filters)
        return Survey(len(rows), sum(row.estimated_microusd for row in rows) / 1e6)
    matches = _matching(act, scope, filters, estimate).limit(MAX_JOBS + 1).subquery().c
    usd = sa.func.coalesce(sa.func.sum(matches.estimated_microusd), 0).label("usd")
    row = tx.execute(sa.select(sa.func.count().label("jobs"), usd)).one()
    return Survey(row.jobs, int(row.usd) / 1e6)


def search(tx: Transaction, act: BulkAct, scope: Scope, filters: JobFilter) -> list[JobId]:
    """List the jobs that a filter with words selects: as many as `survey` counts."""
    return [row.id for row in _with_words(tx, act, scope, filters)]


def insert(
    tx: Transaction,
    action: BulkAction,
    scope: Scope,
    filters: JobFilter,
    chosen: list[JobId] | None,
) -> None:
    """Insert an action and its jobs: those that were chosen, or that the filter selects now."""
    tx.execute(sa.insert(_actions), asdict(action))
    if chosen is not None:
        tx.execute(sa.insert(_items), [{"bulk_id": action.id, "job_id": id_} for id_ in chosen])
        return
    items = _matching(action.act, scope, filters, sa.literal(action.id), job_table.c.id)
    tx.execute(sa.insert(_items).from_select(["bulk_id", "job_id"], items))


def _with_words(tx: Transaction, act: BulkAct, scope: Scope, filters: JobFilter) -> list[Any]:
    """Search in the prompts, as the list does: not by the database, whose cases differ."""
    columns = (job_table.c.id, job_table.c.estimated_microusd, *job_lists.TEXTS)
    with tx.execute(_matching(act, scope, filters, *columns)) as rows:
        return list(islice(job_lists.containing(filters.words, rows), MAX_JOBS + 1))


def _matching(act: BulkAct, scope: Scope, filters: JobFilter, *columns: Any) -> sa.Select[Any]:
    selected = job_lists.selecting(scope, filters, *columns)
    return selected.where(job_table.c.state.in_(sorted(STATES_OF[act])))


def running(tx: Transaction) -> list[BulkAction]:
    """List the actions that are not at their end, the oldest first."""
    statement = sa.select(_actions).where(_actions.c.state == BulkState.RUNNING)
    return [_to_action(row) for row in tx.execute(statement.order_by(_actions.c.id)).mappings()]


def page(tx: Transaction, *, size: int, after: BulkId | None = None) -> list[BulkAction]:
    """List actions, the newest first, starting behind `after`."""
    statement = sa.select(_actions).order_by(_actions.c.id.desc()).limit(size)
    if after is not None:
        statement = statement.where(_actions.c.id < after)
    return [_to_action(row) for row in tx.execute(statement).mappings()]


def get(tx: Transaction, bulk_id: BulkId) -> BulkAction | None:
    row = tx.execute(sa.select(_actions).where(_actions.c.id == bulk_id)).mappings().first()
    return None if row is None else _to_action(row)


def open_items(
    tx: Transaction, bulk_id: BulkId, *, size: int, without: Collection[KeyId] = ()
) -> list[JobId]:
    """List the first jobs whose turn is still to come, but for those of the keys `without`."""
    statement = sa.select(_items.c.job_id).where(_items.c.bulk_id == bulk_id, _OPEN)
    if without:
        is_theirs = sa.exists().where(
            job_table.c.id == _items.c.job_id, job_table.c.key_id.in_(sorted(without))
        )
        statement = statement.where(~is_theirs)
    return list(tx.execute(statement.order_by(_items.c.job_id).limit(size)).scalars())


def counts(tx: Transaction, ids: Collection[BulkId]) -> dict[BulkId, dict[bool | None, int]]:
    """Count the jobs of each action: changed, not changed, and still to come."""
    statement = (
        sa.select(_items.c.bulk_id, _items.c.is_changed, sa.func.count().label("jobs"))
        .where(_items.c.bulk_id.in_(ids))
        .group_by(_items.c.bulk_id, _items.c.is_changed)
    )
    numbers: dict[BulkId, dict[bool | None, int]] = {id_: {} for id_ in ids}
    for row in tx.execute(statement):
        numbers[row.bulk_id][row.is_changed] = row.jobs
    return numbers


def items(
    tx: Transaction, bulk_id: BulkId, *, size: int, after: JobId | None = None
) -> list[BulkItem]:
    """List the jobs of an action and what was done to each, starting after `after`."""
    columns = [_items.c[name] for name in BulkItem.__dataclass_fields__]
    statement = sa.select(*columns).where(_items.c.bulk_id == bulk_id)
    if after is not None:
        statement = statement.where(_items.c.job_id > after)
    rows = tx.execute(statement.order_by(_items.c.job_id).limit(size)).mappings()
    return [BulkItem(**row) for row in rows]


def settle(tx: Transaction, bulk_id: BulkId, item: BulkItem) -> None:
    """Record what was done to a job, unless that is recorded already."""
    tx.execute(
        sa.update(_items)
        .where(_items.c.bulk_id == bulk_id, _items.c.job_id == item.job_id, _OPEN)
        .values(is_changed=item.is_changed, outcome=item.outcome)
    )


def end(tx: Transaction, bulk_id: BulkId, state: BulkState, now: datetime) -> bool:
    """End an action that runs; False if it has ended before."""
    statement = (
        sa.update(_actions)
        .where(_actions.c.id == bulk_id, _actions.c.state == BulkState.RUNNING)
        .values(state=state, ended_at=now)
    )
    return tx.execute(statement).rowcount == 1


def _to_action(row: Mapping[Any, Any]) -> BulkAction:
    return BulkAction(**row)
