"""The lease by which one container at a time owns the database, with numbered epochs.

Each epoch is an entry in a key-value store that all containers share, created by exactly one of
them. Two rules keep owners apart:

- *Time.* An owner that has not renewed its lease stops responding when it expires; another may
  begin only a margin later, because clocks differ.
- *Order.* A change is first put offsite, then the owner checks that the next epoch does not exist,
  and only then responds. A new owner first creates its epoch, then lists the offsite files. So,
  whatever the clocks say, it sees every acknowledged change, and the late owner acknowledges no
  more. The epoch is a fencing token.
"""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from threading import Lock

from service.domain.clock import Clock
from service.domain.errors import Unavailable
from service.offsite.ports import Entry, KeyValue

log = logging.getLogger(__name__)

RENEWALS = 3  # tries to renew before the lease expires


class Ownership:
    """One container's lease, for one epoch. `monotonic` counts seconds and is never set."""

    def __init__(
        self,
        entries: KeyValue,
        holder: str,
        clock: Clock,
        lease: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entries = entries
        self._holder = holder
        self._clock = clock
        self._monotonic = monotonic
        self._lease = lease
        self._margin = lease / 3
        self._until = (0.0, 0.0)  # expiry by the monotonic and by the wall clock
        self._has_ended = True
        self._lock = Lock()
        self.epoch = 0

    @property
    def is_owner(self) -> bool:
        """Check the lease by both clocks: the monotonic one may stop while a machine sleeps."""
        monotonic, wall = self._until
        return not self._has_ended and self._monotonic() < monotonic and self._wall() < wall

    @property
    def pause_seconds(self) -> float:
        """The interval at which to renew."""
        return self._lease.total_seconds() / RENEWALS

    def take(self, min_epoch: int) -> bool:
        """Begin an epoch after `min_epoch`; return False while another container has the lease."""
        newest, entry = min_epoch, self._entries.read(_name(min_epoch))
        while (later := self._entries.read(_name(newest + 1))) is not None:
            newest, entry = newest + 1, later
        if entry is not None and self._wall() <= entry["until"] + self._margin.total_seconds():
            return False
        until = self._new_expiry()
        if not self._entries.create(_name(newest + 1), self._entry(until)):
            return False
        self.epoch, self._until, self._has_ended = newest + 1, until, False
        log.info("database owned", extra={"epoch": self.epoch, "holder": self._holder})
        return True

    def renew(self) -> None:
        """Extend the lease unless it has expired: another container may own the database then."""
        with self._lock:
            if not self.is_owner:
                self._end("the lease has expired")
                return
            until = self._new_expiry()
            if self._is_superseded():
                return
            self._entries.write(_name(self.epoch), self._entry(until))
            if self.is_owner:  # it may have expired during the write
                self._until = until

    def confirm(self) -> None:
        """Raise Unavailable unless changes put offsite before this call may be acknowledged."""
        if self._has_ended or self._is_superseded():
            raise Unavailable("another container owns the database")

    def release(self) -> None:
        """End the lease, so that the next owner need not wait for it to expire."""
        with self._lock:
            if not self._has_ended:
                self._has_ended = True
                self._entries.write(_name(self.epoch), self._entry((0.0, 0.0)))
                log.info("database released", extra={"epoch": self.epoch})

    def _is_superseded(self) -> bool:
        if self._entries.read(_name(self.epoch + 1)) is None:
            return False
        self._end("another container took it")
        return True

    def _end(self, why: str) -> None:
        if not self._has_ended:
            log.warning("database no longer owned", extra={"epoch": self.epoch, "reason": why})
        self._has_ended = True

    def _new_expiry(self) -> tuple[float, float]:
        """Return the expiry of a lease that begins now, before the write, which may take long."""
        seconds = self._lease.total_seconds()
        return self._monotonic() + seconds, self._wall() + seconds

    def _wall(self) -> float:
        return self._clock().timestamp()

    def _entry(self, until: tuple[float, float]) -> Entry:
        return {"holder": self._holder, "until": until[1]}


def _name(epoch: int) -> str:
    return f"epoch-{epoch:08d}"
