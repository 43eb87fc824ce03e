"""The keys table."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from service.domain.job import KeyId
from service.domain.key import Key
from service.store.database import Transaction
from service.store.tables import KeyRow

_keys: sa.Table = KeyRow.__table__  # type: ignore[attr-defined]


def insert(tx: Transaction, key: Key) -> None:
    tx.execute(sa.insert(_keys), asdict(key))


def enter_queue(tx: Transaction, key_id: KeyId, *, limit: int) -> bool:
    """Count one more queued job of this key, unless it has `limit` of them already."""
    return tx.execute(_ENTER, {"owner": key_id, "limit": limit}).rowcount == 1


def leave_queue(tx: Transaction, key_id: KeyId) -> None:
    """Count one queued job less."""
    tx.execute(_LEAVE, {"owner": key_id})


def count_queued(tx: Transaction) -> int:
    """Queued jobs of all keys."""
    return int(tx.execute(sa.select(sa.func.coalesce(sa.func.sum(_keys.c.queued), 0))).scalar_one())


_OWNER = _keys.c.id == sa.bindparam("owner")
_ENTER = (
    sa.update(_keys)
    .where(_OWNER, _keys.c.queued < sa.bindparam("limit"))
    .values(queued=_keys.c.queued + 1)
)
_LEAVE = sa.update(_keys).where(_OWNER).values(queued=_keys.c.queued - 1)


def find(tx: Transaction, prefix: str) -> Key | None:
    """The key with this public prefix, revoked or not."""
    row = tx.execute(_BY_PREFIX, {"prefix": prefix}).mappings().first()
    return None if row is None else _to_key(row)


_BY_PREFIX = sa.select(_keys).where(_keys.c.prefix == sa.bindparam("prefix"))


def every(tx: Transaction) -> list[Key]:
    return [_to_key(row) for row in tx.execute(sa.select(_keys).order_by(_keys.c.id)).mappings()]


def revoke(tx: Transaction, key_id: KeyId, *, now: datetime) -> Key | None:
    """Revoke once; a second time changes nothing. None when there is no such key."""
    statement = (
        sa.update(_keys)
        .where(_keys.c.id == key_id)
        .values(
            revoked_at=sa.func.coalesce(
                _keys.c.revoked_at, sa.literal(now, _keys.c.revoked_at.type)
            )
        )
        .returning(_keys)
    )
    row = tx.execute(statement).mappings().first()
    return None if row is None else _to_key(row)


def _to_key(row: Mapping[Any, Any]) -> Key:
    return Key(**{name: row[name] for name in Key.__dataclass_fields__})
