"""The ledger table: jobs, GPU time and cost per key, day, model and GPU."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.ids import KeyId
from service.domain.job import Job
from service.domain.price import Charge, microusd, month_of
from service.domain.speech import SpeechUsage
from service.store import keys
from service.store.tables import LedgerRow
from service.store.transaction import Transaction

_ledger: sa.Table = LedgerRow.__table__  # type: ignore[attr-defined]

Group = Literal["day", "model", "key"]


@dataclass(frozen=True)
class Total:
    """The sums of one `name`: a day (2026-11-30), a model, or a key's id."""

    name: str
    jobs: int
    gpu_ms: int
    microusd: int


def add(tx: Transaction, job: Job, charge: Charge, *, jobs: int) -> None:
    """Book the cost of an attempt at `job`, and the number of `jobs` that ended with it."""
    if jobs or charge.gpu_ms:
        name, gpu = job.request.model, charge.booked_under
        sums = {"jobs": jobs, "gpu_ms": charge.gpu_ms, "microusd": charge.microusd}
        _add(tx, job.key_id, charge.at, {"model": name, "gpu": gpu, **sums})


def pay_for_speech(tx: Transaction, key_id: KeyId, usage: SpeechUsage, now: datetime) -> None:
    """Add the cost of speech to a key's expenses, and book it under the name of its provider, as of
    a model without a GPU."""
    cost = microusd(usage.usd)
    counts = {"queued": 0, "active": 0, "reserved": 0}
    keys.add_to_counters(tx, key_id, cost=cost, month=month_of(now), **counts)
    if cost:
        sums = {"jobs": 0, "gpu_ms": 0, "microusd": cost}
        _add(tx, key_id, now, {"model": usage.provider, "gpu": "", **sums})


def _add(tx: Transaction, key_id: KeyId, at: datetime, row: dict[str, Any]) -> None:
    day = at.astimezone(UTC).date()
    tx.execute(_ADD[tx.connection.dialect.name], {"key_id": key_id, "day": day, **row})


def totals(
    tx: Transaction, group: Group, first: date, last: date, *, key_id: KeyId | None
) -> list[Total]:
    """Sum over the days from `first` to `last`, both included, of one key or of all."""
    by = _ledger.c["key_id" if group == "key" else group]
    statement = (
        sa.select(by, *(sa.func.sum(_ledger.c[name]).label(name) for name in _SUMMED))
        .where(_ledger.c.day >= first, _ledger.c.day <= last)
        .group_by(by)
        .order_by(by)
    )
    if key_id is not None:
        statement = statement.where(_ledger.c.key_id == key_id)
    return [
        Total(str(row[0]), int(row.jobs), int(row.gpu_ms), int(row.microusd))
        for row in tx.execute(statement)
    ]


_SUMMED = ("jobs", "gpu_ms", "microusd")


def _upsert(insert: Any) -> Any:
    statement = insert(_ledger)
    return statement.on_conflict_do_update(
        index_elements=list(_ledger.primary_key),
        set_={name: _ledger.c[name] + statement.excluded[name] for name in _SUMMED},
    )


_ADD = {"sqlite": _upsert(sqlite.insert), "postgresql": _upsert(postgresql.insert)}
