"""Which key came with a request, remembered for a moment: every request asks."""

import time
from dataclasses import dataclass

from service.domain.key import Key, matches, prefix_of

# Another process on the same database may revoke a key. It says so, but may not be heard while
# the connection to the database is broken: then this one learns of it after so long.
_REMEMBER_SECONDS = 1.0
_MOST = 1000


@dataclass(frozen=True)
class _Known:
    key: Key
    until: float


class KeyCache:
    """Good keys by their prefix, forgotten when one of them is revoked."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def find(self, secret: str) -> Key | None:
        """The key that this secret opened lately. The secret is compared every time."""
        known = self._known.get(prefix_of(secret))
        if known is None or known.until < time.monotonic():
            return None
        return known.key if matches(secret, known.key.secret_hash) else None

    def remember(self, key: Key) -> None:
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key.prefix] = _Known(key, time.monotonic() + _REMEMBER_SECONDS)

    def forget(self) -> None:
        self._known.clear()
