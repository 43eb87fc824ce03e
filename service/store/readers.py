"""Read-only connections: one per thread on SQLite, a pool on Postgres."""

import logging
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
from service.store.engine import make_engine

log = logging.getLogger(__name__)

T = TypeVar("T")

# Errors of a failed disk or server, and of a pool without a free connection.
AWAY = (OperationalError, InterfaceError, TimeoutError)


class Readers(Protocol):
    """Runs queries on a connection that sees what is committed. Raises Unavailable."""

    def read(self, run: Callable[[sa.Connection], T]) -> T: ...

    def renew(self) -> None:
        """Reconnect: the database may have failed over to another server."""

    def close(self) -> None: ...


class ThreadReaders:
    """One open connection per thread: taking one from a pool costs as much as a query."""

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url, read_only=True)
        self._local = threading.local()
        self._all: WeakSet[sa.Connection] = WeakSet()  # a connection goes with its thread

    def read(self, run: Callable[[sa.Connection], T]) -> T:
        try:
            return run(self._connection())
        except AWAY as error:
            raise unavailable(error) from error

    def renew(self) -> None:
        """Do nothing: a file does not move."""

    def close(self) -> None:
        for connection in list(self._all):
            connection.close()
        self._engine.dispose()

    def _connection(self) -> sa.Connection:
        connection: sa.Connection | None = getattr(self._local, "connection", None)
        if connection is None or connection.invalidated:
            connection = self._local.connection = self._engine.connect()
            self._all.add(connection)
        return connection


class PooledReaders:
    """A pool of a few connections for many threads, since a server limits them."""

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url, read_only=True)
        self._renewals = 0
        event.listen(self._engine, "connect", self._note_renewals)
        event.listen(self._engine, "checkout", self._check_renewals)

    def read(self, run: Callable[[sa.Connection], T]) -> T:
        """Run a query, once more if its pooled connection had gone stale."""
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
        """Make the pool replace a connection from before the last renewal."""
        if record.info["renewals"] != self._renewals:
            raise DisconnectionError

    def _read(self, run: Callable[[sa.Connection], T]) -> T:
        with self._engine.connect() as connection:
            return run(connection)


def is_lost(error: Exception) -> bool:
    """Tell whether the connection failed, so that a new one may work."""
    return bool(getattr(error, "connection_invalidated", False))


def unavailable(error: SQLAlchemyError) -> Exception:
    """Turn an error of a failed disk or server into Unavailable; return others unchanged."""
    if not isinstance(error, AWAY) and not is_lost(error):
        return error
    # The driver's message may name the database's address: it goes to the log alone.
    log.warning("database does not answer", extra={"error": getattr(error, "orig", error)})
    return Unavailable("the database does not answer")
