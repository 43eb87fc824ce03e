"""The turns table: what only one process at a time may do."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from service.store.tables import LeaseRow
from service.store.transaction import Transaction

_turns: sa.Table = LeaseRow.__table__  # type: ignore[attr-defined]


def take(tx: Transaction, name: str, holder: str, *, now: datetime, lease: timedelta) -> bool:
    """Whether it is `holder`'s turn, from now for a lease; it takes it again before that ends."""
    insert = sqlite.insert if tx.connection.dialect.name == "sqlite" else postgresql.insert
    made = insert(_turns).values(name=name, holder=holder, until=now + lease)
    statement = made.on_conflict_do_update(
        index_elements=[_turns.c.name],
        set_={"holder": made.excluded.holder, "until": made.excluded.until},
        where=sa.or_(
            _turns.c.holder == holder,
            _turns.c.until < now,
            _turns.c.until > now + 2 * lease,  # no turn is that long: the clock was set back
        ),
    ).returning(_turns.c.holder)
    return tx.execute(statement).first() is not None


def keep(tx: Transaction, names: Sequence[str], holder: str, *, until: datetime) -> None:
    """Hold each of them until then, along with whoever else does."""
    insert = sqlite.insert if tx.connection.dialect.name == "sqlite" else postgresql.insert
    made = insert(_turns).values([{"name": n, "holder": holder, "until": until} for n in names])
    tx.execute(
        made.on_conflict_do_update(
            index_elements=[_turns.c.name],
            set_={"holder": made.excluded.holder, "until": made.excluded.until},
        )
    )


def until(tx: Transaction, names: Sequence[str]) -> dict[str, datetime]:
    """Until when those of the names are held that ever were."""
    statement = sa.select(_turns.c.name, _turns.c.until).where(_turns.c.name.in_(names))
    return {row.name: row.until for row in tx.execute(statement)}


def alone(tx: Transaction, name: str) -> bool:
    """Whether nobody else is past this point by the same name; then nobody comes past it until the
    transaction ends. It waits for nobody: one that stands still would hold up all that others
    write. A file has one writer in any case."""
    if tx.connection.dialect.name == "sqlite":
        return True
    lock = sa.func.pg_try_advisory_xact_lock(sa.func.hashtextextended(name, 0))
    return bool(tx.execute(sa.select(lock)).scalar_one())


def leave(tx: Transaction, name: str, holder: str) -> None:
    """Let another have it at once."""
    tx.execute(sa.delete(_turns).where(_turns.c.name == name, _turns.c.holder == holder))
