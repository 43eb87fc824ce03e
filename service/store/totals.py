"""The tables that the end of a job adds to: the totals, whose sums outlast the job, and the hours,
which count it until it is deleted."""

import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.job import Job
from service.domain.metrics import Series, Sums
from service.store.admin_tables import HourRow
from service.store.tables import TotalRow
from service.store.transaction import Transaction

_totals: sa.Table = TotalRow.__table__  # type: ignore[attr-defined]
_hours: sa.Table = HourRow.__table__  # type: ignore[attr-defined]


def add(tx: Transaction, sums: Mapping[Series, int]) -> None:
    """Add to the sums. Rows are taken in one order, so that two processes never wait for each
    other's."""
    rows = [
        {"name": series.name, "labels": json.dumps(series.labels), "value": amount}
        for series, amount in sorted(sums.items())
    ]
    if rows:
        tx.execute(_ADD[tx.connection.dialect.name], rows)


def read(tx: Transaction) -> Sums:
    """Return all sums."""
    rows = tx.execute(sa.select(_totals))
    return Sums({Series(row.name, tuple(json.loads(row.labels))): row.value for row in rows})


def count_end(tx: Transaction, job: Job) -> None:
    """Count a final job in the hour of its end."""
    tx.execute(_COUNT[tx.connection.dialect.name], _of_hour(job))


def discount_end(tx: Transaction, job: Job) -> None:
    """Count a final job no longer: it is deleted."""
    values = {f"of_{name}": value for name, value in _of_hour(job).items()}
    tx.execute(_DISCOUNT, values)
    tx.execute(_DELETE_EMPTY, values)


def _of_hour(job: Job) -> dict[str, Any]:
    assert job.finished_at is not None, "final"
    return {
        "hour": job.finished_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0),
        "model": job.request.model,
        "state": job.state.value,
        "error_code": job.error.code if job.error else "",
        "jobs": 1,
        "user_failures": int(job.error is not None and job.error.is_user_failure),
    }


def _upsert(insert: Any, table: sa.Table, *names: str) -> Any:
    statement = insert(table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: table.c[name] + statement.excluded[name] for name in names},
    )


_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_ADD = {name: _upsert(insert, _totals, "value") for name, insert in _INSERTS.items()}
_COUNT = {
    name: _upsert(insert, _hours, "jobs", "user_failures") for name, insert in _INSERTS.items()
}


def _of(column: sa.Column[Any]) -> sa.BindParameter[Any]:
    return sa.bindparam(f"of_{column.name}", type_=column.type)


_SAME = [column == _of(column) for column in _hours.primary_key]
_DISCOUNT = (
    sa.update(_hours)
    .where(*_SAME)
    .values({column: column - _of(column) for column in (_hours.c.jobs, _hours.c.user_failures)})
)
_DELETE_EMPTY = sa.delete(_hours).where(*_SAME, _hours.c.jobs <= 0)
