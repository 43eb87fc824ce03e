"""When a commit is durable, and so when its callers are answered."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol

import sqlalchemy as sa

from service.store.shipper import Shipper
from service.store.work import Commit

Quiet = Callable[[], AbstractContextManager[Any]]


class Offsite(Protocol):
    """Remote copy of a local database, whose single owner is this process."""

    def ship(self, quiet: Quiet) -> None:
        """Upload what was committed before this call. `quiet` yields the driver's connection while
        nothing is written. Raises Unavailable unless all is uploaded and still owned."""
        ...

    def check_owner(self) -> None:
        """Raise Unavailable unless this process may write."""
        ...

    def check_reader(self) -> None:
        """Raise Unavailable unless local commits may be read."""
        ...

    def commit_failed(self) -> None:
        """A commit failed, and what it left behind is not known; said while nobody writes."""
        ...


class Durability(Protocol):
    """Decides when the callers of a commit are answered."""

    @property
    def is_immediate(self) -> bool:
        """Tell whether a commit is durable as soon as it is made."""

    def check_owner(self) -> None:
        """Raise Unavailable where another process may be the one that owns the database."""

    def check_reader(self) -> None:
        """Raise Unavailable where what is read here may be out of date."""

    def committing(self) -> AbstractContextManager[None]:
        """Hold this around a transaction."""

    def commit_failed(self) -> None:
        """A commit raised an error: it may be in the database's log or not."""

    def acknowledge(self, commit: Commit) -> None:
        """Publish and answer `commit` once it is durable; fail it where it cannot become so."""

    def close(self) -> None:
        """Wait for what is not yet durable."""


class Immediate:
    """A commit is durable at once: on this machine's disk, or at the database server."""

    is_immediate = True

    def check_owner(self) -> None:
        """Nobody else owns the database."""

    def check_reader(self) -> None:
        """Reads are never out of date."""

    def committing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def commit_failed(self) -> None:
        """Nothing is copied."""

    def acknowledge(self, commit: Commit) -> None:
        commit.publish()
        commit.answer()

    def close(self) -> None:
        """Nothing waits."""


class Replicated:
    """A commit is durable once a copy of it is offsite as well.

    What a new owner begins with is put there, under its name, before anybody is answered. Raises
    Unavailable where that fails.
    """

    is_immediate = False

    def __init__(self, offsite: Offsite, engine: sa.Engine) -> None:
        self._offsite = offsite
        self._engine = engine
        self._commit_lock = threading.Lock()
        ship = partial(offsite.ship, self._between_commits)
        ship()
        self._shipper = Shipper(ship)
        self._shipper.start()

    def check_owner(self) -> None:
        self._offsite.check_owner()

    def check_reader(self) -> None:
        self._offsite.check_reader()

    @contextmanager
    def committing(self) -> Iterator[None]:
        with self._commit_lock:
            yield

    def commit_failed(self) -> None:
        self._offsite.commit_failed()

    def acknowledge(self, commit: Commit) -> None:
        self._shipper.add(commit)

    def close(self) -> None:
        self._shipper.close()

    @contextmanager
    def _between_commits(self) -> Iterator[Any]:
        """Lend the driver's own writing connection while the writer commits nothing."""
        with self._commit_lock, closing(self._engine.raw_connection()) as connection:
            yield connection.driver_connection
