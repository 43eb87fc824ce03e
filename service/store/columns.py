"""Column types that mean the same on SQLite and on Postgres."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from service.domain import ids

# A Python None is SQL NULL, not the JSON word null, so that CHECKs can see it.
Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


class Instant(sa.types.TypeDecorator[datetime]):
    """Aware datetime as whole microseconds since 1970: one order and one arithmetic everywhere."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime has no place in the database")
        return round(value.timestamp() * 1_000_000)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value / 1_000_000, UTC)


class PublicId(sa.types.TypeDecorator[str]):
    """`job_…` outside, a native UUID (Postgres) or 32 hex letters (SQLite) inside."""

    impl = sa.Uuid
    cache_ok = True

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> UUID | None:
        return None if value is None else ids.decode(self.prefix, value)

    def process_result_value(self, value: UUID | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else ids.encode(self.prefix, value)


def words(enum: type[StrEnum], name: str) -> sa.Enum:
    """VARCHAR with a named CHECK: a new word is a constraint swap, never an ALTER TYPE."""
    return sa.Enum(
        enum,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )
