"""Puts what a local database has committed offsite: a base now and then, a tail each time."""

import sqlite3
from contextlib import suppress
from pathlib import Path

from service.domain.errors import Unavailable
from service.domain.ports import Quiet
from service.log import Log
from service.offsite.generations import Copy, Generation, read_names
from service.offsite.ownership import Ownership
from service.offsite.ports import BlobStore
from service.offsite.wal import LogReplaced, Mark, read_on

log = Log(__name__)

MAX_TAILS = 100  # a restore fetches all of them
_LEAST_LOG_BYTES = 4_000_000


class Shipping:
    """The offsite copies of one owner's database, from the epoch's first base on.

    After anything that went wrong a new base is made: what a tail would have to follow is then
    not known. One thread ships; all may ask.
    """

    def __init__(
        self, shelf: BlobStore, ownership: Ownership, database: Path, restored: Generation | None
    ) -> None:
        self._shelf = shelf
        self._ownership = ownership
        self._database = database
        self._generation = Generation(ownership.epoch, 0)
        self._before = restored
        self._tails = 0
        self._mark = Mark()
        self._max_log_bytes = 0
        self._in_doubt = True
        self._behind = True

    @property
    def behind(self) -> bool:
        """Whether something that is committed here could not be put offsite."""
        return self._behind

    def check_owner(self) -> None:
        if not self._ownership.held:
            raise Unavailable("another container may own the database")

    def check_reader(self) -> None:
        """What is shown must not be taken back: while the copies are behind nothing is shown."""
        self.check_owner()
        if self._behind:
            raise Unavailable("the database's copies are behind")

    def ship(self, quiet: Quiet) -> None:
        """When this returns, all that was committed before the call is offsite and in the one
        history. `quiet` gives the writing connection while nobody writes. Raises Unavailable."""
        try:
            self._ship(quiet)
        except Exception as error:
            self._behind = self._in_doubt = True
            if isinstance(error, Unavailable):
                raise
            log.error("database could not be copied", error)
            raise Unavailable("the database could not be copied") from error
        self._behind = False

    def commit_failed(self) -> None:
        """A commit failed: what the log holds is uncertain."""
        self._in_doubt = True

    def _ship(self, quiet: Quiet) -> None:
        with quiet() as connection:
            copy, content = self._pack(connection)
        if not content:
            return
        self._shelf.put(copy.name, content)
        self._ownership.confirm()
        if copy.tail == 0:
            self._prune(copy.generation)

    def _pack(self, connection: sqlite3.Connection) -> tuple[Copy, bytes]:
        """The next copy to put, without content where nothing new was committed."""
        if not self._in_doubt:
            with suppress(LogReplaced):
                content, mark = read_on(self._database, self._mark)
                if self._tails < MAX_TAILS and mark.end <= self._max_log_bytes:
                    return self._tail(content, mark)
        return self._base(connection)

    def _tail(self, content: bytes, mark: Mark) -> tuple[Copy, bytes]:
        self._mark = mark
        self._tails += bool(content)
        return Copy.of(self._generation, self._tails, content), content

    def _base(self, connection: sqlite3.Connection) -> tuple[Copy, bytes]:
        """The whole file, once the log is taken into it and empty."""
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise Unavailable("the database is being read for too long")
        content = self._database.read_bytes()
        if not content:
            # Nothing to put is not nothing new: whoever waits was answered for what is gone.
            raise Unavailable("the database's file is empty")
        self._generation = Generation(self._generation.epoch, self._generation.base + 1)
        self._mark, self._tails = Mark(), 0
        self._max_log_bytes = max(_LEAST_LOG_BYTES, len(content))
        self._in_doubt = False
        return Copy.of(self._generation, 0, content), content

    def _prune(self, kept: Generation) -> None:
        """The generation before this one stays, should the new base turn out to be damaged."""
        before, self._before = self._before, kept
        if before is None:
            return
        try:
            old = {c.generation for c in read_names(self._shelf.names()) if c.generation < before}
            for generation in sorted(old):
                self._shelf.delete(generation.prefix)
        except Unavailable as error:
            log.warning("old copies could not be removed", error=error)
