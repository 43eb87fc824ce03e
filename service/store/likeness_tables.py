"""The tables of likenesses of people, under the rules of tables.py."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from service.store.columns import Id, Instant, Json
from service.store.tables import partial


class AvatarRow(SQLModel, table=True):
    """An avatar of a key; its photo is in the artifact store."""

    __tablename__ = "avatars"

    id: str = Field(sa_type=Id, primary_key=True)
    key_id: str = Field(sa_type=Id, foreign_key="keys.id")
    name: str = Field(max_length=120)
    image: dict[str, Any] = Field(sa_type=Json)
    size_bytes: int = Field(sa_type=sa.BigInteger)  # of the photo
    warnings: list[str] = Field(sa_type=Json)
    voice: str | None = Field(default=None, max_length=100)
    consent: dict[str, Any] = Field(sa_type=Json)
    created_at: datetime = Field(sa_type=Instant)
    # The Idempotency-Key that created it, and the SHA-256 of its request.
    idempotency_key: str | None = Field(default=None, max_length=255)
    fingerprint: bytes | None = Field(default=None, sa_type=sa.LargeBinary(32))

    __table_args__ = (
        sa.Index("ix_avatars_owner", "key_id", "id"),
        partial(
            "uq_avatars_request",
            *("key_id", "idempotency_key"),
            where="idempotency_key IS NOT NULL",
            unique=True,
        ),
    )


class VoiceRow(SQLModel, table=True):
    """A voice that a key has had cloned by ElevenLabs."""

    __tablename__ = "voices"

    id: str = Field(sa_type=Id, primary_key=True)
    key_id: str = Field(sa_type=Id, foreign_key="keys.id")
    name: str = Field(max_length=120)
    language: str = Field(max_length=40)
    provider_id: str = Field(max_length=64, unique=True)
    needs_verification: bool
    consent: dict[str, Any] = Field(sa_type=Json)
    created_at: datetime = Field(sa_type=Instant)
    # The Idempotency-Key that created it, and the SHA-256 of its request.
    idempotency_key: str | None = Field(default=None, max_length=255)
    fingerprint: bytes | None = Field(default=None, sa_type=sa.LargeBinary(32))

    __table_args__ = (
        sa.Index("ix_voices_owner", "key_id", "id"),
        partial(
            "uq_voices_request",
            *("key_id", "idempotency_key"),
            where="idempotency_key IS NOT NULL",
            unique=True,
        ),
    )
