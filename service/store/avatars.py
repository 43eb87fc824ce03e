"""The avatars table."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from service.domain.ids import KeyId
from service.domain.job import Idempotency
from service.domain.likeness import AvatarId, SavedAvatar
from service.store.likeness_tables import AvatarRow
from service.store.transaction import Transaction

_avatars: sa.Table = AvatarRow.__table__  # type: ignore[attr-defined]


def insert(tx: Transaction, avatar: SavedAvatar, idempotency: Idempotency | None) -> None:
    tx.execute(
        sa.insert(_avatars),
        {
            **avatar.model_dump(include={"id", "key_id", "name", "voice", "created_at"}),
            **avatar.model_dump(mode="json", include={"image", "warnings", "consent"}),
            "size_bytes": avatar.image.size_bytes,
            "idempotency_key": None if idempotency is None else idempotency.name,
            "fingerprint": None if idempotency is None else idempotency.fingerprint,
        },
    )


def get(tx: Transaction, avatar_id: AvatarId, key_id: KeyId | None) -> SavedAvatar | None:
    """Return the avatar if it exists and belongs to that key; None: to any key."""
    statement = sa.select(_avatars).where(_is_of(key_id), _avatars.c.id == avatar_id)
    row = tx.execute(statement).mappings().first()
    return None if row is None else _to_avatar(row)


def find_request(tx: Transaction, key_id: KeyId, name: str) -> tuple[SavedAvatar, bytes] | None:
    """Return the avatar that this Idempotency-Key created, and the fingerprint of its request."""
    statement = sa.select(_avatars).where(_is_of(key_id), _avatars.c.idempotency_key == name)
    row = tx.execute(statement).mappings().first()
    return None if row is None else (_to_avatar(row), row["fingerprint"])


def page(
    tx: Transaction, key_id: KeyId | None, *, size: int, after: AvatarId | None = None
) -> list[SavedAvatar]:
    """List a key's avatars, or those of all keys, newest first, beginning after `after`."""
    statement = sa.select(_avatars).where(_is_of(key_id))
    if after is not None:
        statement = statement.where(_avatars.c.id < after)
    rows = tx.execute(statement.order_by(_avatars.c.id.desc()).limit(size)).mappings()
    return [_to_avatar(row) for row in rows]


def count(tx: Transaction, key_id: KeyId) -> int:
    statement = sa.select(sa.func.count()).select_from(_avatars).where(_is_of(key_id))
    return int(tx.execute(statement).scalar_one())


def size_bytes(tx: Transaction, key_id: KeyId) -> int:
    """Sum the bytes of a key's photos."""
    total = sa.func.coalesce(sa.func.sum(_avatars.c.size_bytes), 0)
    return int(tx.execute(sa.select(total).where(_is_of(key_id))).scalar_one())


def existing_ids(tx: Transaction, ids: list[str]) -> set[str]:
    """Return those of `ids` that are avatars."""
    return set(tx.execute(sa.select(_avatars.c.id).where(_avatars.c.id.in_(ids))).scalars())


def delete(tx: Transaction, avatar_id: AvatarId) -> None:
    tx.execute(sa.delete(_avatars).where(_avatars.c.id == avatar_id))


def _is_of(key_id: KeyId | None) -> sa.ColumnElement[bool]:
    return sa.true() if key_id is None else _avatars.c.key_id == key_id


def _to_avatar(row: Mapping[Any, Any]) -> SavedAvatar:
    return SavedAvatar(**{name: row[name] for name in SavedAvatar.model_fields})
