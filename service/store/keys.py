"""API keys with their counters, budgets and signing secrets; and the ledger of what they cost, per
day, model and GPU."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

import sqlalchemy as sa

from service.domain import topics
from service.domain.event import Secrets
from service.domain.ids import KeyId
from service.domain.job import Job
from service.domain.key import Key, KeyRole
from service.domain.price import Balance, Charge, microusd, month_of
from service.domain.speech import SpeechUsage
from service.store.tables import KeyRow, LedgerRow
from service.store.transaction import Transaction
from service.store.upsert import adding_upsert

key_table: sa.Table = KeyRow.__table__  # type: ignore[attr-defined]


def insert(tx: Transaction, key: Key) -> None:
    tx.execute(sa.insert(key_table), asdict(key))


def lock(tx: Transaction, key_id: KeyId) -> None:
    """Lock the key's row until this transaction ends."""
    tx.execute(sa.select(key_table.c.id).where(key_table.c.id == key_id).with_for_update()).first()


def try_lock(tx: Transaction, key_id: KeyId) -> bool:
    """Lock the key's row, or return False at once if another transaction holds the lock."""
    return tx.execute(_TRY_LOCK, {"owner": key_id}).first() is not None


def reserve_places(
    tx: Transaction, key_id: KeyId, *, jobs: int = 1, limit: int, estimate: int, month: int
) -> bool:
    """Count so many more queued jobs and reserve their estimate in microdollars.

    Return False, and change nothing, above `limit` queued jobs or the budget of the month."""
    values = {"owner": key_id, "jobs": jobs, "max_queued": limit - jobs}
    return (
        tx.execute(_RESERVE_PLACES, values | {"estimate": estimate, "month": month}).rowcount == 1
    )


def increment_active(tx: Transaction, key_id: KeyId, *, limit: int) -> bool:
    """Give the key its turn and count one more active job; False if it has `limit` already."""
    return tx.execute(_INCREMENT_ACTIVE, {"owner": key_id, "limit": limit}).rowcount == 1


def add_to_counters(
    tx: Transaction, key_id: KeyId, *, cost: int, month: int, **counts: int
) -> None:
    """Add to the key's counters `queued`, `active` and `reserved`, and `cost` (microdollars) to the
    month's expenses. A cost booked late, into a past month, counts in the newest."""
    if cost or any(counts.values()):
        tx.execute(_ADD_TO_COUNTERS, {"owner": key_id, "spent": cost, "month": month, **counts})


def balance(tx: Transaction, key_id: KeyId, month: int) -> Balance:
    return _balances(tx, month, key_table.c.id == key_id)[key_id]


def balances(tx: Transaction, month: int) -> dict[KeyId, Balance]:
    return _balances(tx, month, sa.true())


def set_budget(tx: Transaction, key_id: KeyId, budget: int | None) -> None:
    """Set the monthly budget in microdollars, None for no limit."""
    tx.execute(sa.update(key_table).where(key_table.c.id == key_id).values(budget_microusd=budget))


def count_queued(tx: Transaction) -> int:
    """Count the queued jobs of all keys."""
    return int(
        tx.execute(sa.select(sa.func.coalesce(sa.func.sum(key_table.c.queued), 0))).scalar_one()
    )


def active_counts(tx: Transaction) -> dict[KeyId, int]:
    """Count the starting and running jobs of each key that has queued ones."""
    statement = sa.select(key_table.c.id, key_table.c.active).where(key_table.c.queued > 0)
    return {KeyId(row.id): int(row.active) for row in tx.execute(statement)}


def last_turns(tx: Transaction) -> dict[KeyId, int]:
    """Return the number of the last turn of each key with queued jobs: the higher, the later."""
    statement = sa.select(key_table.c.id, key_table.c.served).where(key_table.c.queued > 0)
    return {KeyId(row.id): int(row.served) for row in tx.execute(statement)}


_OWNER = key_table.c.id == sa.bindparam("owner")
_TRY_LOCK = sa.select(key_table.c.id).where(_OWNER).with_for_update(skip_locked=True)
_LIMIT = sa.bindparam("limit", type_=sa.BigInteger)
# Expenses of an earlier month than this one count as 0.
_MONTH = sa.bindparam("month", type_=sa.Integer)
_SPENT = sa.case((key_table.c.spent_month >= _MONTH, key_table.c.spent_microusd), else_=0)
_ESTIMATE = sa.bindparam("estimate", type_=sa.BigInteger)
_RESERVE_PLACES = (
    sa.update(key_table)
    .where(
        _OWNER,
        key_table.c.queued <= sa.bindparam("max_queued", type_=sa.BigInteger),
        sa.or_(
            key_table.c.budget_microusd.is_(None),
            _SPENT + key_table.c.reserved_microusd + _ESTIMATE <= key_table.c.budget_microusd,
        ),
    )
    .values(
        queued=key_table.c.queued + sa.bindparam("jobs", type_=sa.BigInteger),
        reserved_microusd=key_table.c.reserved_microusd + _ESTIMATE,
    )
)
_ADD_TO_COUNTERS = (
    sa.update(key_table)
    .where(_OWNER)
    .values(
        queued=key_table.c.queued + sa.bindparam("queued", type_=sa.Integer),
        active=key_table.c.active + sa.bindparam("active", type_=sa.Integer),
        reserved_microusd=key_table.c.reserved_microusd
        + sa.bindparam("reserved", type_=sa.BigInteger),
        spent_microusd=_SPENT + sa.bindparam("spent", type_=sa.BigInteger),
        spent_month=sa.case(
            (key_table.c.spent_month >= _MONTH, key_table.c.spent_month), else_=_MONTH
        ),
    )
)
_all_keys = key_table.alias()
_INCREMENT_ACTIVE = (
    sa.update(key_table)
    .where(_OWNER, key_table.c.active < _LIMIT)
    .values(
        active=key_table.c.active + 1,
        served=sa.select(sa.func.max(_all_keys.c.served) + 1).scalar_subquery(),
    )
)


def signing_secrets(tx: Transaction, key_id: KeyId) -> Secrets:
    """Return the secrets that sign deliveries of this key's jobs, created on first use."""
    statement = sa.select(
        key_table.c.secret, key_table.c.old_secret, key_table.c.old_secret_until
    ).where(key_table.c.id == key_id)
    row = tx.execute(statement.with_for_update()).one()
    if row.secret is not None:
        return Secrets(row.secret, row.old_secret, row.old_secret_until)
    fresh = Secrets.new()
    set_signing_secrets(tx, key_id, fresh)
    return fresh


def set_signing_secrets(tx: Transaction, key_id: KeyId, secrets: Secrets) -> None:
    tx.execute(
        sa.update(key_table)
        .where(key_table.c.id == key_id)
        .values(secret=secrets.present, old_secret=secrets.old, old_secret_until=secrets.old_until)
    )


def find(tx: Transaction, prefix: str) -> Key | None:
    """Return the key with this public prefix, revoked or not."""
    row = tx.execute(_BY_PREFIX, {"prefix": prefix}).mappings().first()
    return None if row is None else to_key(row)


_BY_PREFIX = sa.select(key_table).where(key_table.c.prefix == sa.bindparam("prefix"))


def is_admin(tx: Transaction, key_id: KeyId) -> bool:
    role = tx.execute(sa.select(key_table.c.role).where(key_table.c.id == key_id)).scalar()
    return bool(role == KeyRole.ADMIN)


def revoked_among(tx: Transaction, key_ids: Sequence[KeyId]) -> set[KeyId]:
    """Return those of these keys that are revoked."""
    return set(tx.execute(_REVOKED_AMONG, {"owners": key_ids}).scalars())


_REVOKED_AMONG = sa.select(key_table.c.id).where(
    key_table.c.id.in_(sa.bindparam("owners", expanding=True)), key_table.c.revoked_at.is_not(None)
)


def every(tx: Transaction) -> list[Key]:
    return [
        to_key(row) for row in tx.execute(sa.select(key_table).order_by(key_table.c.id)).mappings()
    ]


def names(tx: Transaction) -> dict[KeyId, str]:
    """Return the names of all keys, revoked ones too."""
    return {KeyId(row.id): row.name for row in tx.execute(_NAMES)}


_NAMES = sa.select(key_table.c.id, key_table.c.name).order_by(key_table.c.id)


def revoke(tx: Transaction, key_id: KeyId, *, now: datetime) -> Key:
    """Revoke a key, and return it."""
    statement = sa.update(key_table).where(key_table.c.id == key_id).values(revoked_at=now)
    row = tx.execute(statement.returning(key_table)).mappings().one()
    tx.notify(topics.KEYS)
    return to_key(row)


def _balances(
    tx: Transaction, month: int, condition: sa.ColumnElement[bool]
) -> dict[KeyId, Balance]:
    statement = sa.select(
        key_table.c.id,
        key_table.c.budget_microusd.label("budget"),
        _SPENT.label("spent"),
        key_table.c.reserved_microusd.label("reserved"),
    ).where(condition)
    return {
        KeyId(row.id): Balance(row.budget, row.spent, row.reserved)
        for row in tx.execute(statement, {"month": month})
    }


def to_key(row: Mapping[Any, Any]) -> Key:
    return Key(**{name: row[name] for name in Key.__dataclass_fields__})


_ledger: sa.Table = LedgerRow.__table__  # type: ignore[attr-defined]

Group = Literal["day", "model", "key"]


@dataclass(frozen=True)
class Total:
    """The sums of one `name`: a day (2026-11-30), a model, or a key's id."""

    name: str
    jobs: int
    gpu_ms: int
    microusd: int


def book(tx: Transaction, job: Job, charge: Charge, *, jobs: int) -> None:
    """Book the cost of an attempt at `job`, and the number of `jobs` that ended with it."""
    if jobs or charge.gpu_ms:
        name, gpu = job.request.model, charge.booked_under
        sums = {"jobs": jobs, "gpu_ms": charge.gpu_ms, "microusd": charge.microusd}
        _add_to_ledger(tx, job.key_id, charge.at, {"model": name, "gpu": gpu, **sums})


def pay_for_speech(tx: Transaction, key_id: KeyId, usage: SpeechUsage, now: datetime) -> None:
    """Add the cost of speech to a key's expenses, and book it under the name of its provider, as of
    a model without a GPU."""
    cost = microusd(usage.usd)
    counts = {"queued": 0, "active": 0, "reserved": 0}
    add_to_counters(tx, key_id, cost=cost, month=month_of(now), **counts)
    if cost:
        sums = {"jobs": 0, "gpu_ms": 0, "microusd": cost}
        _add_to_ledger(tx, key_id, now, {"model": usage.provider, "gpu": "", **sums})


def _add_to_ledger(tx: Transaction, key_id: KeyId, at: datetime, row: dict[str, Any]) -> None:
    day = at.astimezone(UTC).date()
    tx.execute(_ADD_TO_LEDGER[tx.connection.dialect.name], {"key_id": key_id, "day": day, **row})


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
_ADD_TO_LEDGER = adding_upsert(_ledger, *_SUMMED)
