"""Ids that sort by time and read well: `job_` + UUIDv7 in base32hex."""

import base64
import secrets
import time
from uuid import UUID

_BASE32_LENGTH = 26  # 128 bits at 5 bits a letter


def uuid7() -> UUID:
    """A UUID version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, then random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = secrets.randbits(74)
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= (random_bits >> 62) << 64
    value |= 0b10 << 62
    value |= random_bits & (1 << 62) - 1
    return UUID(int=value)


def encode(prefix: str, value: UUID) -> str:
    """`job_…`: base32hex keeps the order of the bytes, so text sorts as time does."""
    return f"{prefix}_{base64.b32hexencode(value.bytes).decode().rstrip('=').lower()}"


def decode(prefix: str, text: str) -> UUID:
    """The inverse of `encode`. Raises ValueError for anything `encode` cannot have made."""
    head, _, body = text.partition("_")
    if head != prefix or len(body) != _BASE32_LENGTH or not body.isascii() or body != body.lower():
        raise ValueError(f"not a {prefix} id")
    value = UUID(bytes=base64.b32hexdecode(body.upper() + "======"))
    if encode(prefix, value) != text:
        raise ValueError(f"not a {prefix} id")
    return value


def new(prefix: str) -> str:
    """A fresh id such as `job_06hm3c…`."""
    return encode(prefix, uuid7())
