"""Connections for looking: one a thread on SQLite, a pool on Postgres."""

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import (
    DisconnectionError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
    TimeoutError,
)
from sqlalchemy.pool import ConnectionPoolEntry

from service.domain.errors import Unavailable
from service.log import Log
from service.store.engine import make_engine

log = Log(__name__)

T = TypeVar("T")

# A disk or a server that fails, and a pool whose every connection is in use for too long.
AWAY = (OperationalError, InterfaceError, TimeoutError)


class Readers(Protocol):
    """Runs a look on a connection that sees what is committed. Raises Unavailable."""

    def read(self, run: Callable[[sa.Connection], T]) -> T: ...

    def renew(self) -> None:
        """Ask anew where the database is: it may be on another server by now."""

    def close(self) -> None: ...


class ThreadReaders:
    """A connection a thread, kept open: taking one from a pool costs as much as a query."""

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url, read_only=True)
        self._mine = threading.local()
        self._all: WeakSet[sa.Connection] = WeakSet()  # one that ends with its thread is let go

    def read(self, run: Callable[[sa.Connection], T]) -> T:
        try:
            return run(self._connection())
        except AWAY as error:
            raise unavailable(error) from error

    def renew(self) -> None:
        """A file does not move."""

    def close(self) -> None:
        for connection in list(self._all):
            connection.close()
        self._engine.dispose()

    def _connection(self) -> sa.Connection:
        kept: sa.Connection | None = getattr(self._mine, "connection", None)
        if kept is None or kept.invalidated:
            kept = self._mine.connection = self._engine.connect()
            self._all.add(kept)
        return kept


class PooledReaders:
    """A few connections for many threads: a server counts them."""

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url, read_only=True)
        self._renewals = 0
        event.listen(self._engine, "connect", self._note_renewals)
        event.listen(self._engine, "checkout", self._check_renewals)

    def read(self, run: Callable[[sa.Connection], T]) -> T:
        """A look at a connection that went stale while nobody used it is tried once more."""
        try:
            return self._read(run)
        except AWAY as error:
            if not is_lost(error):
                raise unavailable(error) from error
        try:
            return self._read(run)
        except AWAY as error:
            raise unavailable(error) from error

    def renew(self) -> None:
        self._renewals += 1

    def close(self) -> None:
        self._engine.dispose()

    def _note_renewals(self, _connection: object, record: ConnectionPoolEntry) -> None:
        record.info["renewals"] = self._renewals

    def _check_renewals(
        self, _connection: object, record: ConnectionPoolEntry, _proxy: object
    ) -> None:
        """The pool closes a connection of before the last renewal, and makes another."""
        if record.info["renewals"] != self._renewals:
            raise DisconnectionError

    def _read(self, run: Callable[[sa.Connection], T]) -> T:
        with self._engine.connect() as connection:
            return run(connection)


def is_lost(error: Exception) -> bool:
    """Whether it is the connection that failed, so that another one may do."""
    return bool(getattr(error, "connection_invalidated", False))


def unavailable(error: SQLAlchemyError) -> Exception:
    """What a failed disk or server is to whoever asked; another error is left as it is."""
    if not isinstance(error, AWAY) and not is_lost(error):
        return error
    # Where the database is and what its driver says are the owner's business: for the log alone.
    log.warning("database does not answer", error=getattr(error, "orig", error))
    return Unavailable("the database does not answer")
