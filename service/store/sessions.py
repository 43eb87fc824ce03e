"""The sessions table: logins to the admin pages."""

from datetime import datetime

import sqlalchemy as sa

from service.domain.ids import KeyId
from service.domain.key import Key
from service.store.admin_tables import SessionRow
from service.store.keys import key_table, to_key
from service.store.transaction import Transaction

_sessions: sa.Table = SessionRow.__table__  # type: ignore[attr-defined]


def insert(
    tx: Transaction, token_hash: bytes, key_id: KeyId, *, now: datetime, expires_at: datetime
) -> None:
    values = {"token_hash": token_hash, "key_id": key_id, "created_at": now}
    tx.execute(sa.insert(_sessions), values | {"expires_at": expires_at})


def find_key(tx: Transaction, token_hash: bytes, now: datetime) -> Key | None:
    """Return the key of a session that has neither expired nor lost its key to a revocation."""
    statement = (
        sa.select(key_table)
        .join(_sessions, _sessions.c.key_id == key_table.c.id)
        .where(
            _sessions.c.token_hash == token_hash,
            _sessions.c.expires_at > now,
            key_table.c.revoked_at.is_(None),
        )
    )
    row = tx.execute(statement).mappings().first()
    return None if row is None else to_key(row)


def delete(tx: Transaction, token_hash: bytes) -> None:
    tx.execute(sa.delete(_sessions).where(_sessions.c.token_hash == token_hash))


def delete_of_key(tx: Transaction, key_id: KeyId) -> int:
    """Delete all sessions of a key; return how many there were."""
    return tx.execute(sa.delete(_sessions).where(_sessions.c.key_id == key_id)).rowcount


def delete_expired(tx: Transaction, now: datetime) -> None:
    tx.execute(sa.delete(_sessions).where(_sessions.c.expires_at <= now))
