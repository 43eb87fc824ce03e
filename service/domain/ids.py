"""Ids that sort by time: `job_` and a UUIDv7 in base32hex."""

import base64
import re
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NewType
from uuid import UUID

from service.domain.errors import NotFound

JobId = NewType("JobId", str)
KeyId = NewType("KeyId", str)
EventId = NewType("EventId", int)  # rises in the order of commits

_SHAPE = re.compile(r"[a-z]{3}_[0-9a-v]{26}")  # 26 letters of 5 bits hold the 128 bits


def new(prefix: str, stamps: "Stamps | None" = None) -> str:
    """Create an id such as `job_06hm3c…`; `prefix` is three letters.

    base32hex keeps the order of the bytes, so ids sort as text by their creation.
    """
    text = base64.b32hexencode(uuid7(stamps or _stamps).bytes).decode()
    return f"{prefix}_{text.rstrip('=').lower()}"


def is_id(prefix: str, text: str) -> bool:
    """Tell whether `text` has the form of an id with this prefix."""
    return text.startswith(f"{prefix}_") and _SHAPE.fullmatch(text) is not None


def parse(prefix: str, noun: str, text: str) -> str:
    """Return `text`, an id with this prefix. Raises NotFound for a malformed one, which is answered
    like an unknown one: `no <noun> …`."""
    if not is_id(prefix, text):
        raise NotFound(f"no {noun} {text[:64]}")
    return text


def job_id_of(text: str) -> JobId:
    """Parse a job's id. Raises NotFound for a malformed one."""
    return JobId(parse("job", "job", text))


def key_id_of(text: str) -> KeyId:
    """Parse the id of an API key. Raises NotFound for a malformed one."""
    return KeyId(parse("key", "key", text))


def made_at(id_: str) -> datetime:
    """Return when an id was created, to the millisecond; `id_` has the form of an id."""
    return datetime.fromtimestamp(int.from_bytes(_bytes(id_)[:6]) / 1000, tz=UTC)


def first_at(prefix: str, moment: datetime) -> str:
    """Return the lowest id that can be created at `moment`, which counts to the millisecond."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    text = base64.b32hexencode((milliseconds << 80).to_bytes(16)).decode()
    return f"{prefix}_{text.rstrip('=').lower()}"


class Stamps:
    """Generates the 60 time bits of a UUIDv7: milliseconds, and 12 bits of fraction.

    Strictly increasing: if the clock is set back, they count up from the highest until the clock
    has passed it again.
    """

    def __init__(self, nanoseconds: Callable[[], int] = time.time_ns) -> None:
        self._nanoseconds = nanoseconds
        self._last = 0
        self._lock = threading.Lock()

    def next(self) -> int:
        milliseconds, rest = divmod(self._nanoseconds(), 1_000_000)
        with self._lock:
            self._last = max(self._last + 1, milliseconds << 12 | rest * 4096 // 1_000_000)
            return self._last

    def stay_above(self, id_: str) -> None:
        """Keep all later stamps above that of `id_`, which another process may have created."""
        with self._lock:
            self._last = max(self._last, _stamp(id_))


_stamps = Stamps()  # one per process, so that all its ids are in order
stay_above = _stamps.stay_above


def uuid7(stamps: Stamps = _stamps) -> UUID:
    """Create a UUID version 7 (RFC 9562): 48 bits of milliseconds, 12 of their fraction, 62 random.

    The fraction (section 6.2, method 3) keeps ids of one millisecond in order.
    """
    stamp = stamps.next()
    value = (stamp >> 12 & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= (stamp & 0xFFF) << 64
    value |= 0b10 << 62
    value |= secrets.randbits(62)
    return UUID(int=value)


def _stamp(id_: str) -> int:
    value = int.from_bytes(_bytes(id_))
    return value >> 80 << 12 | value >> 64 & 0xFFF


def _bytes(id_: str) -> bytes:
    digits = id_.partition("_")[2].upper().ljust(32, "=")
    return base64.b32hexdecode(digits)
