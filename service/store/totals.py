"""The totals table: sums that grow with every job that ends, and outlast it."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.metrics import Series, Sums
from service.store.tables import TotalRow
from service.store.transaction import Transaction

_totals: sa.Table = TotalRow.__table__  # type: ignore[attr-defined]


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


def _upsert(insert: Any) -> Any:
    statement = insert(_totals)
    return statement.on_conflict_do_update(
        index_elements=list(_totals.primary_key),
        set_={"value": _totals.c.value + statement.excluded.value},
    )


_ADD = {"sqlite": _upsert(sqlite.insert), "postgresql": _upsert(postgresql.insert)}
