"""Ids that sort by time and read well: `job_` + UUIDv7 in base32hex."""

import base64
import re
import secrets
import time
from datetime import UTC, datetime
from uuid import UUID

_SHAPE = re.compile(r"[a-z]{3}_[0-9a-v]{26}")  # 26 letters of 5 bits hold the 128 bits


def new(prefix: str) -> str:
    """A fresh id such as `job_06hm3c…`; `prefix` is three letters.

    base32hex keeps the order of the bytes, so as text the ids sort as they were made.
    """
    encoded = base64.b32hexencode(uuid7().bytes).decode()
    return f"{prefix}_{encoded.rstrip('=').lower()}"


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` has the shape of an id with this prefix."""
    return text.startswith(f"{prefix}_") and _SHAPE.fullmatch(text) is not None


def made_at(id_: str) -> datetime:
    """When an id was made, to the millisecond; `id_` has the shape of one."""
    padded = id_.partition("_")[2].upper().ljust(32, "=")
    return datetime.fromtimestamp(int.from_bytes(base64.b32hexdecode(padded)[:6]) / 1000, tz=UTC)


def uuid7() -> UUID:
    """A UUID version 7 (RFC 9562): 48 bits of milliseconds, 12 of their fraction, 62 random.

    The fraction (section 6.2, method 3) keeps ids of one millisecond in the order of their making.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= (nanoseconds * 4096 // 1_000_000) << 64
    value |= 0b10 << 62
    value |= secrets.randbits(62)
    return UUID(int=value)
