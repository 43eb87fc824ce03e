"""Replicate a local database offsite while this container owns it: a tail of the WAL with each
commit, at times a base. Tenure: take the ownership, restore the database, renew, release."""

import logging
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

from service.domain.clock import Clock
from service.domain.errors import Unavailable
from service.offsite.generations import Copy, Generation, newest_epoch, read_names
from service.offsite.ownership import Ownership
from service.offsite.ports import BlobStore, KeyValue, Quiet
from service.offsite.restore import restore
from service.offsite.wal import LogReplaced, Position, read_since

log = logging.getLogger(__name__)

MAX_TAILS = 100  # a restore fetches all of them
_MIN_LOG_BYTES = 4_000_000


class Shipping:
    """Replicates one owner's database, starting with the epoch's first base.

    After any failure the next copy is a base, since the last tail offsite is not known then. Only
    one thread calls `ship`; the checks are thread-safe.
    """

    def __init__(
        self, blobs: BlobStore, ownership: Ownership, database: Path, previous: Generation | None
    ) -> None:
        self._blobs = blobs
        self._ownership = ownership
        self._database = database
        self._generation = Generation(ownership.epoch, 0)
        self._previous = previous
        self._tails = 0
        self._position = Position()
        self._max_log_bytes = 0
        self._needs_base = True
        self._is_behind = True

    @property
    def is_behind(self) -> bool:
        """True while commits here are not yet offsite because of a failure."""
        return self._is_behind

    def check_owner(self) -> None:
        if not self._ownership.is_owner:
            raise Unavailable("another container may own the database")

    def check_reader(self) -> None:
        """Raise Unavailable unless this process owns the database and all commits are offsite.

        A read must not show a commit that a restore would undo."""
        self.check_owner()
        if self._is_behind:
            raise Unavailable("the database's copies are behind")

    def ship(self, quiet: Quiet) -> None:
        """Put every commit before this call offsite, and confirm the ownership. Raises Unavailable.

        `quiet` yields the writing connection while nothing else writes."""
        try:
            self._ship(quiet)
        except Exception as error:
            self._is_behind = self._needs_base = True
            if isinstance(error, Unavailable):
                raise
            log.error("database could not be copied", exc_info=error)
            raise Unavailable("the database could not be copied") from error
        self._is_behind = False

    def commit_failed(self) -> None:
        """Make the next copy a base: a commit failed, so the WAL is not certain."""
        self._needs_base = True

    def _ship(self, quiet: Quiet) -> None:
        with quiet() as connection:
            copy, content = self._pack(connection)
        if not content:
            return
        self._blobs.put(copy.name, content)
        self._ownership.confirm()
        if copy.tail == 0:
            self._prune(copy.generation)

    def _pack(self, connection: sqlite3.Connection) -> tuple[Copy, bytes]:
        """Return the next copy to put; its content is empty if nothing was committed."""
        if not self._needs_base:
            with suppress(LogReplaced):
                content, position = read_since(self._database, self._position)
                if self._tails < MAX_TAILS and position.end <= self._max_log_bytes:
                    return self._tail(content, position)
        return self._base(connection)

    def _tail(self, content: bytes, position: Position) -> tuple[Copy, bytes]:
        self._position = position
        self._tails += bool(content)
        return Copy.of(self._generation, self._tails, content), content

    def _base(self, connection: sqlite3.Connection) -> tuple[Copy, bytes]:
        """Checkpoint the WAL, and return the whole file as a base."""
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise Unavailable("a long read keeps the database from being copied")
        content = self._database.read_bytes()
        if not content:
            # The file was emptied under its owner: acknowledged changes are gone.
            raise Unavailable("the database's file is empty")
        self._generation = Generation(self._generation.epoch, self._generation.base + 1)
        self._position, self._tails = Position(), 0
        self._max_log_bytes = max(_MIN_LOG_BYTES, len(content))
        self._needs_base = False
        return Copy.of(self._generation, 0, content), content

    def _prune(self, current: Generation) -> None:
        """Delete generations before the previous one, kept in case the new base is corrupt."""
        previous, self._previous = self._previous, current
        if previous is None:
            return
        try:
            old = {c.generation for c in read_names(self._blobs.names()) if c.generation < previous}
            for generation in sorted(old):
                self._blobs.delete(generation.prefix)
        except Unavailable as error:
            log.warning("old copies could not be removed", extra={"error": error})


@dataclass(frozen=True)
class Replica:
    """The offsite storage of a database, and the length of an owner's lease."""

    blobs: BlobStore
    entries: KeyValue
    database: Path
    lease: timedelta

    def take(self, holder: str, clock: Clock) -> "Tenure | None":
        """Take the ownership and restore the database; None while another container owns it.
        Raises Unavailable."""
        epoch = newest_epoch(read_names(self.blobs.names()))
        ownership = Ownership(self.entries, holder, clock, self.lease)
        if not ownership.take(epoch):
            return None
        tenure = Tenure(ownership)
        try:
            generation = restore(self.blobs, self.database, ownership.epoch)
        except BaseException:
            tenure.end()
            raise
        tenure.shipping = Shipping(self.blobs, ownership, self.database, generation)
        return tenure


class Tenure:
    """Renews the ownership in a thread until `end`."""

    shipping: Shipping

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership
        self._ended = Event()
        self._thread = Thread(target=self._renew, name="owner", daemon=True)
        self._thread.start()

    @property
    def is_owner(self) -> bool:
        return self._ownership.is_owner

    def end(self) -> None:
        """Release the ownership; call it after the last write."""
        self._ended.set()
        self._thread.join()
        try:
            self._ownership.release()
        except Unavailable as error:
            log.warning(
                "ownership could not be released; its lease expires by itself",
                extra={"error": error},
            )

    def _renew(self) -> None:
        while not self._ended.wait(self._ownership.pause_seconds):
            try:
                self._ownership.renew()
            except Unavailable as error:
                log.warning("ownership could not be renewed", extra={"error": error})
