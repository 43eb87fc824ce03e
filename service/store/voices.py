"""The voices table: cloned voices of keys."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from service.domain.ids import KeyId
from service.domain.job import Idempotency
from service.domain.likeness import ClonedVoice, VoiceId
from service.store.likeness_tables import VoiceRow
from service.store.transaction import Transaction

_voices: sa.Table = VoiceRow.__table__  # type: ignore[attr-defined]


def insert(tx: Transaction, voice: ClonedVoice, idempotency: Idempotency | None) -> None:
    tx.execute(
        sa.insert(_voices),
        {
            **voice.model_dump(exclude={"consent"}),
            **voice.model_dump(mode="json", include={"consent"}),
            "idempotency_key": None if idempotency is None else idempotency.name,
            "fingerprint": None if idempotency is None else idempotency.fingerprint,
        },
    )


def get(tx: Transaction, voice_id: VoiceId, key_id: KeyId | None) -> ClonedVoice | None:
    """Return the voice if it exists and belongs to that key; None: to any key."""
    statement = sa.select(_voices).where(_is_of(key_id), _voices.c.id == voice_id)
    row = tx.execute(statement).mappings().first()
    return None if row is None else _to_voice(row)


def find_request(tx: Transaction, key_id: KeyId, name: str) -> tuple[ClonedVoice, bytes] | None:
    """Return the voice that this Idempotency-Key created, and the fingerprint of its request."""
    is_request = sa.and_(_voices.c.key_id == key_id, _voices.c.idempotency_key == name)
    row = tx.execute(sa.select(_voices).where(is_request)).mappings().first()
    return None if row is None else (_to_voice(row), row["fingerprint"])


def of_key(tx: Transaction, key_id: KeyId | None) -> list[ClonedVoice]:
    """List a key's voices, or those of all keys, newest first."""
    statement = sa.select(_voices).where(_is_of(key_id))
    rows = tx.execute(statement.order_by(_voices.c.id.desc())).mappings()
    return [_to_voice(row) for row in rows]


def owner_of(tx: Transaction, provider_id: str) -> KeyId | None:
    """Return the key whose clone a voice of the provider is; None for any other voice."""
    statement = sa.select(_voices.c.key_id).where(_voices.c.provider_id == provider_id)
    owner = tx.execute(statement).scalar()
    return None if owner is None else KeyId(owner)


def existing_ids(tx: Transaction, ids: list[str]) -> set[str]:
    """Return those of `ids` that are clones."""
    return set(tx.execute(sa.select(_voices.c.id).where(_voices.c.id.in_(ids))).scalars())


def provider_ids(tx: Transaction) -> set[str]:
    """Return the provider's ids of the clones of all keys."""
    return set(tx.execute(sa.select(_voices.c.provider_id)).scalars())


def delete(tx: Transaction, voice_id: VoiceId) -> None:
    tx.execute(sa.delete(_voices).where(_voices.c.id == voice_id))


def _is_of(key_id: KeyId | None) -> sa.ColumnElement[bool]:
    return sa.true() if key_id is None else _voices.c.key_id == key_id


def _to_voice(row: Mapping[Any, Any]) -> ClonedVoice:
    return ClonedVoice(**{name: row[name] for name in ClonedVoice.model_fields})
