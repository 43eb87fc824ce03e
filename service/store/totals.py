"""The sums of the metrics, which outlast the jobs that they count."""

import json
from collections.abc import Mapping

import sqlalchemy as sa

from service.domain.metrics import Series, Sums
from service.store.tables import TotalRow
from service.store.transaction import Transaction
from service.store.upsert import adding_upsert

_totals: sa.Table = TotalRow.__table__  # type: ignore[attr-defined]
_ADD = adding_upsert(_totals, "value")


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
