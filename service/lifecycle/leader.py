"""Whose turn it is to do what only one process at a time should."""

import secrets
from datetime import datetime, timedelta

from service.store import leases
from service.store.database import Database

_LEASE = timedelta(seconds=15)  # how long the others wait for one that died
_RENEW = _LEASE / 3


class Leadership:
    """This process's part in taking turns at the ticks."""

    def __init__(self, db: Database, name: str = "ticks") -> None:
        self._db = db
        self._name = name
        self._holder = secrets.token_hex(8)
        self._renew_at: datetime | None = None  # None: it is not ours

    def is_leader(self, now: datetime) -> bool:
        """Take it, or keep it; a database is asked no more often than it must be."""
        if self._renew_at is None or not self._renew_at - _RENEW <= now < self._renew_at:
            taken = self._db.write(
                lambda tx: leases.take(tx, self._name, self._holder, now=now, lease=_LEASE)
            ).result()
            self._renew_at = now + _RENEW if taken else None
        return self._renew_at is not None

    def leave(self) -> None:
        """At a stop: nobody need wait for us."""
        if self._renew_at is not None:
            self._renew_at = None
            self._db.write(lambda tx: leases.leave(tx, self._name, self._holder)).result()
