"""The tables of likenesses of people: avatars, and cloned voices of keys."""

from collections.abc import Mapping
from typing import Any, TypeVar

import sqlalchemy as sa

from service.domain.ids import KeyId
from service.domain.job import Idempotency
from service.domain.likeness import AvatarId, ClonedVoice, SavedAvatar
from service.store.likeness_tables import AvatarRow, VoiceRow
from service.store.transaction import Transaction

_avatars: sa.Table = AvatarRow.__table__  # type: ignore[attr-defined]
_voices: sa.Table = VoiceRow.__table__  # type: ignore[attr-defined]
_TABLES: dict[type[SavedAvatar] | type[ClonedVoice], sa.Table] = {
    SavedAvatar: _avatars,
    ClonedVoice: _voices,
}
_IN_JSON = {"image", "warnings", "consent"}

Likeness = TypeVar("Likeness", SavedAvatar, ClonedVoice)


def insert(
    tx: Transaction, likeness: SavedAvatar | ClonedVoice, idempotency: Idempotency | None
) -> None:
    values = {
        **likeness.model_dump(exclude=_IN_JSON),
        **likeness.model_dump(mode="json", include=_IN_JSON),
        "idempotency_key": None if idempotency is None else idempotency.name,
        "fingerprint": None if idempotency is None else idempotency.fingerprint,
    }
    if isinstance(likeness, SavedAvatar):
        values["size_bytes"] = likeness.image.size_bytes
    tx.execute(sa.insert(_TABLES[type(likeness)]), values)


def get(tx: Transaction, kind: type[Likeness], id_: str, key_id: KeyId | None) -> Likeness | None:
    """Return a likeness if it exists and belongs to that key; None: to any key."""
    table = _TABLES[kind]
    statement = sa.select(table).where(_is_of(table, key_id), table.c.id == id_)
    row = tx.execute(statement).mappings().first()
    return None if row is None else _of_row(kind, row)


def find_request(
    tx: Transaction, kind: type[Likeness], key_id: KeyId, name: str
) -> tuple[Likeness, bytes] | None:
    """Return what this Idempotency-Key created, and the fingerprint of its request."""
    table = _TABLES[kind]
    statement = sa.select(table).where(_is_of(table, key_id), table.c.idempotency_key == name)
    row = tx.execute(statement).mappings().first()
    return None if row is None else (_of_row(kind, row), row["fingerprint"])


def page(
    tx: Transaction,
    kind: type[Likeness],
    key_id: KeyId | None,
    *,
    size: int | None = None,
    after: AvatarId | None = None,
) -> list[Likeness]:
    """List those of a key, or of all keys, newest first, beginning after `after`."""
    table = _TABLES[kind]
    statement = sa.select(table).where(_is_of(table, key_id))
    if after is not None:
        statement = statement.where(table.c.id < after)
    rows = tx.execute(statement.order_by(table.c.id.desc()).limit(size)).mappings()
    return [_of_row(kind, row) for row in rows]


def count(tx: Transaction, kind: type[Likeness], key_id: KeyId) -> int:
    table = _TABLES[kind]
    statement = sa.select(sa.func.count()).select_from(table).where(_is_of(table, key_id))
    return int(tx.execute(statement).scalar_one())


def photo_bytes(tx: Transaction, key_id: KeyId) -> int:
    """Sum the bytes of the photos of a key's avatars."""
    total = sa.func.coalesce(sa.func.sum(_avatars.c.size_bytes), 0)
    return int(tx.execute(sa.select(total).where(_is_of(_avatars, key_id))).scalar_one())


def voice_owner(tx: Transaction, provider_id: str) -> KeyId | None:
    """Return the key whose clone a voice of the provider is; None for any other voice."""
    statement = sa.select(_voices.c.key_id).where(_voices.c.provider_id == provider_id)
    owner = tx.execute(statement).scalar()
    return None if owner is None else KeyId(owner)


def provider_ids(tx: Transaction) -> set[str]:
    """Return the provider's ids of the cloned voices of all keys."""
    return set(tx.execute(sa.select(_voices.c.provider_id)).scalars())


def existing_ids(tx: Transaction, ids: list[str], *, kind: type[Likeness]) -> set[str]:
    """Return those of `ids` that exist."""
    table = _TABLES[kind]
    return set(tx.execute(sa.select(table.c.id).where(table.c.id.in_(ids))).scalars())


def delete(tx: Transaction, likeness: SavedAvatar | ClonedVoice) -> None:
    table = _TABLES[type(likeness)]
    tx.execute(sa.delete(table).where(table.c.id == likeness.id))


def _is_of(table: sa.Table, key_id: KeyId | None) -> sa.ColumnElement[bool]:
    return sa.true() if key_id is None else table.c.key_id == key_id


def _of_row(kind: type[Likeness], row: Mapping[Any, Any]) -> Likeness:
    return kind(**{name: row[name] for name in kind.model_fields})
