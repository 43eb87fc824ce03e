"""Lists of jobs, each read from an index in the order of the list."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from service.domain import ids
from service.domain.errors import NotFound
from service.domain.ids import JobId
from service.domain.job import Job, JobFilter, Scope
from service.store import jobs, labels
from service.store.job_rows import job_table, to_job
from service.store.labels import Condition
from service.store.transaction import Transaction

# Prompts have no index: a page searches this many jobs at most, and the next goes on from there.
MAX_SEARCHED = 2_000

# The texts of a job in which words are searched.
TEXTS = tuple(job_table.c.request[name].as_string().label(name) for name in ("prompt", "text"))


class Page(NamedTuple):
    """Some jobs of a list. `next_after` is where the next page begins; None at the list's end.

    A page of a search in prompts may have fewer jobs than asked for, or none, and yet not be the
    last.
    """

    jobs: list[Job]
    next_after: JobId | None


def page(
    tx: Transaction,
    scope: Scope,
    *,
    size: int,
    after: JobId | None = None,
    newest_first: bool = True,
    filters: JobFilter,
) -> Page:
    """List up to `size` jobs of `scope` that come after `after`.

    They are in order of creation, or of their end where the filter bounds it. Raises NotFound if
    `after` has no place in the order of ends.
    """
    table, job_id, conditions = labels.source(scope, list(filters.metadata.items()))
    conditions += _conditions(filters, job_id)
    columns = [job_table.c.finished_at, job_id] if filters.is_by_end else [job_id]
    if after is not None:
        conditions.append(_behind(columns, _place(tx, after, filters), newest_first))
    direction = sa.desc if newest_first else sa.asc
    statement = sa.select(job_table).select_from(table).where(*conditions)
    if filters.words:
        states = (
            [_indexed(job_table.c.state, filters).in_(filters.states)] if filters.states else []
        )
        newest = statement.where(*states).order_by(*map(direction, columns)).limit(MAX_SEARCHED)
        return _search(tx, newest, filters.words, size)
    pages = [
        statement.where(*states).order_by(*map(direction, columns)).limit(size + 1)
        for states in _groups_of_states(filters)
    ]
    rows = tx.execute(_merged(pages, direction).limit(size + 1)).mappings()
    page = [to_job(row) for row in rows]
    return Page(page[:size], page[size - 1].id if len(page) > size else None)


def selecting(scope: Scope, filters: JobFilter, *columns: Any) -> sa.Select[Any]:
    """Return a query of these columns of all jobs that a filter selects, but for its words."""
    table, job_id, conditions = labels.source(scope, list(filters.metadata.items()))
    conditions += _conditions(filters, job_id)
    if filters.states:
        conditions.append(job_table.c.state.in_(filters.states))
    return sa.select(*columns).select_from(table).where(*conditions)


def containing(words: tuple[str, ...], rows: Iterable[Any]) -> Iterator[Any]:
    """Yield those rows whose `prompt` or `text` contains all these words; upper and lower case are
    alike."""
    wanted = [word.casefold() for word in words]
    for row in rows:
        prompt = "\n".join(filter(None, (row.prompt, row.text))).casefold()
        if all(word in prompt for word in wanted):
            yield row


def _conditions(filters: JobFilter, job_id: sa.ColumnElement[str]) -> list[Condition]:
    columns = job_table.c
    conditions: list[Condition] = [
        column.in_(values)
        for column, values in (
            (_indexed(columns.model, filters), filters.models),
            (_indexed(columns.kind, filters), filters.kinds),
        )
        if values
    ]
    if filters.ids is not None:
        conditions.append(job_id.in_(filters.ids))
    # Ids sort by time: their index serves bounds on the creation as well.
    if filters.created_after is not None:
        conditions.append(job_id >= ids.first_at("job", filters.created_after))
    if filters.created_before is not None:
        conditions.append(job_id < ids.first_at("job", filters.created_before))
    if filters.ended_after is not None:
        conditions.append(columns.finished_at >= filters.ended_after)
    if filters.ended_before is not None:
        conditions.append(columns.finished_at < filters.ended_before)
    if filters.error_code is not None:
        conditions.append(columns.error_code == filters.error_code)
    return conditions


def _groups_of_states(filters: JobFilter) -> list[list[Condition]]:
    """Build the conditions of one query for each state, each in the order of its index: a query for
    several states would read all their rows and sort them. Other indexes are in order whatever the
    states."""
    if not filters.states:
        return [[]]
    groups = [(state,) for state in filters.states] if _is_by_kind(filters) else [filters.states]
    return [[_indexed(job_table.c.state, filters).in_(states)] for states in groups]


def _indexed(column: sa.Column[Any], filters: JobFilter) -> sa.ColumnElement[Any]:
    """Return the column, or an expression of its value that no index serves where the list is in
    the order of another index; else SQLite would read the column's and sort all that it finds."""
    return column if _is_by_kind(filters) else column.concat("")


def _is_by_kind(filters: JobFilter) -> bool:
    """Tell whether the list is read from an index of states, models or kinds."""
    return not (filters.metadata or filters.error_code or filters.is_by_end)


def _merged(
    pages: list[sa.Select[Any]], direction: Callable[[Any], Any]
) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    if len(pages) == 1:
        return pages[0]
    union = sa.union_all(*(sa.select(query.subquery()) for query in pages))
    return union.order_by(direction("id"))


def _place(tx: Transaction, after: JobId, filters: JobFilter) -> list[Any]:
    """Return the values by which `after` is ordered."""
    if not filters.is_by_end:
        return [after]
    ended_at = tx.execute(
        sa.select(job_table.c.finished_at).where(job_table.c.id == after)
    ).scalar_one_or_none()
    if ended_at is None:
        raise NotFound(f"?after: there is no ended job {after}")
    return [ended_at, after]


def _behind(columns: list[Any], place: list[Any], newest_first: bool) -> sa.ColumnElement[bool]:
    values = [sa.literal(value, column.type) for column, value in zip(columns, place, strict=True)]
    left, right = sa.tuple_(*columns), sa.tuple_(*values)
    return left < right if newest_first else left > right


def _search(tx: Transaction, newest: sa.Select[Any], words: tuple[str, ...], size: int) -> Page:
    """Find the jobs whose prompt contains all these words."""
    rows: list[Any] = list(tx.execute(newest.with_only_columns(job_table.c.id, *TEXTS)))
    job_ids = [row.id for row in containing(words, rows)]
    end = rows[-1].id if len(rows) == MAX_SEARCHED else None
    jobs_by_id = jobs.get_all(tx, job_ids[:size])
    return Page(
        [jobs_by_id[job_id] for job_id in job_ids[:size]],
        job_ids[size - 1] if len(job_ids) > size else end,
    )
