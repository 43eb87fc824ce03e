"""Leader election among the processes on one database."""

import secrets
from datetime import datetime, timedelta

from service.store import leases
from service.store.database import Database

_LEASE = timedelta(seconds=15)  # how long the others wait after the leader died
_RENEW = _LEASE / 3
_NAME = "ticks"  # of the lease


class Leadership:
    """This process's part in electing the one that runs the ticks."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._holder = secrets.token_hex(8)
        self._renew_at: datetime | None = None  # None: not the leader

    def is_leader(self, now: datetime) -> bool:
        """Acquire or renew the lease, asking the database only when a renewal is due."""
        if self._renew_at is None or not self._renew_at - _RENEW <= now < self._renew_at:
            has_lease = self._db.write(
                lambda tx: leases.acquire(tx, _NAME, self._holder, now=now, lease=_LEASE)
            ).result()
            self._renew_at = now + _RENEW if has_lease else None
        return self._renew_at is not None

    def leave(self) -> None:
        """Release the lease at a stop, so that no other process waits for it."""
        if self._renew_at is not None:
            self._renew_at = None
            self._db.write(lambda tx: leases.release(tx, _NAME, self._holder)).result()
