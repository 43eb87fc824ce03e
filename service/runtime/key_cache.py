"""Cache API keys for a moment, since every request needs one."""

import time
from dataclasses import dataclass

from service.domain.key import Key, matches, prefix_of

# A key revoked by another process is valid here for this long, should its notification be lost
# with the connection to the database.
_REMEMBER_SECONDS = 1.0
_MAX_KEYS = 1000


@dataclass(frozen=True)
class _Entry:
    key: Key
    expires_at: float


class KeyCache:
    """Valid keys by their prefix; all are dropped when one is revoked."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def find(self, secret: str) -> Key | None:
        """Return the cached key of this secret. The secret is compared every time."""
        entry = self._entries.get(prefix_of(secret))
        if entry is None or entry.expires_at < time.monotonic():
            return None
        return entry.key if matches(secret, entry.key.secret_hash) else None

    def remember(self, key: Key) -> None:
        if len(self._entries) >= _MAX_KEYS:
            self._entries.clear()
        self._entries[key.prefix] = _Entry(key, time.monotonic() + _REMEMBER_SECONDS)

    def forget(self) -> None:
        self._entries.clear()
