"""Column types that behave alike on SQLite and on Postgres."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

# A Python None is SQL NULL, not the JSON word null, so that CHECKs can see it.
Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


class Instant(sa.types.TypeDecorator[datetime]):
    """Aware datetime as whole microseconds since 1970: they sort and add up alike on both."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime cannot be stored; give it a time zone")
        return micros(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value / 1_000_000, UTC)


def micros(moment: datetime) -> int:
    """Return a moment as an Instant stores it."""
    return round(moment.timestamp() * 1_000_000)


# `job_06h0c…`; compared byte by byte on both databases, so that ids sort by time.
Id = sa.String(30).with_variant(sa.String(30, collation="C"), "postgresql")


def str_enum(enum: type[StrEnum], name: str) -> sa.Enum:
    """Map a StrEnum to VARCHAR with a named CHECK: a new member needs no ALTER TYPE."""
    return sa.Enum(
        enum,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )
