"""Named leases on work that one process at a time may do, in the table `turns`."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from service.store.tables import LeaseRow
from service.store.transaction import Transaction

_leases: sa.Table = LeaseRow.__table__  # type: ignore[attr-defined]


def acquire(tx: Transaction, name: str, holder: str, *, now: datetime, lease: timedelta) -> bool:
    """Acquire or renew a lease; False while another holder has it."""
    insert = sqlite.insert if tx.connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(_leases).values(name=name, holder=holder, until=now + lease)
    statement = statement.on_conflict_do_update(
        index_elements=[_leases.c.name],
        set_={"holder": statement.excluded.holder, "until": statement.excluded.until},
        where=sa.or_(
            _leases.c.holder == holder,
            _leases.c.until < now,
            _leases.c.until > now + 2 * lease,  # longer than any lease: the clock was set back
        ),
    )
    return tx.execute(statement.returning(_leases.c.holder)).first() is not None


def extend(tx: Transaction, names: Sequence[str], holder: str, *, until: datetime) -> None:
    """Set the expiry of each lease, whoever holds it."""
    insert = sqlite.insert if tx.connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(_leases).values(
        [{"name": n, "holder": holder, "until": until} for n in names]
    )
    tx.execute(
        statement.on_conflict_do_update(
            index_elements=[_leases.c.name],
            set_={"holder": statement.excluded.holder, "until": statement.excluded.until},
        )
    )


def expiries(tx: Transaction, names: Sequence[str]) -> dict[str, datetime]:
    """Return when the leases with these names expire, leaving out names that never had one."""
    statement = sa.select(_leases.c.name, _leases.c.until).where(_leases.c.name.in_(names))
    return {row.name: row.until for row in tx.execute(statement)}


def try_lock(tx: Transaction, name: str) -> bool:
    """Try a transaction-scoped advisory lock; return False instead of blocking the writer. SQLite
    has one writer in any case."""
    if tx.connection.dialect.name == "sqlite":
        return True
    lock = sa.func.pg_try_advisory_xact_lock(sa.func.hashtextextended(name, 0))
    return bool(tx.execute(sa.select(lock)).scalar_one())


def release(tx: Transaction, name: str, holder: str) -> None:
    """Give the lease up before it expires."""
    tx.execute(sa.delete(_leases).where(_leases.c.name == name, _leases.c.holder == holder))
