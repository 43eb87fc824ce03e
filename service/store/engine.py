"""One writer with group commit, readers that never wait for it: the whole use of a connection."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.sql.base import Executable

T = TypeVar("T")

# FULL, because an answered 202 must outlive a power cut: NORMAL loses acknowledged rows.
_PRAGMAS = """
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
    PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 1000; PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -32768;
"""
_MAX_BATCH = 64


@dataclass
class Transaction:
    """One unit of work. `ring` names what must be heard about once this is committed."""

    connection: sa.Connection
    topics: list[str] = field(default_factory=list)
    wrote: bool = False

    def execute(self, statement: Executable, values: Any = None) -> sa.CursorResult[Any]:
        self.wrote = self.wrote or not statement.is_select
        return self.connection.execute(statement, values)

    def ring(self, topic: str) -> None:
        self.topics.append(topic)


@dataclass
class _Work(Generic[T]):
    run: Callable[[Transaction], T]
    future: Future[T] = field(default_factory=Future)


class _Readers:
    """A connection a thread, kept open: taking one from a pool costs as much as a query."""

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url, read_only=True)
        self._mine = threading.local()
        self._all: WeakSet[sa.Connection] = WeakSet()  # one that ends with its thread is let go

    def connection(self) -> sa.Connection:
        kept: sa.Connection | None = getattr(self._mine, "connection", None)
        if kept is None or kept.invalidated:
            kept = self._mine.connection = self._engine.connect()
            self._all.add(kept)
        return kept

    def close(self) -> None:
        for connection in list(self._all):
            connection.close()
        self._engine.dispose()


class Database:
    """Reads run at once on the caller's thread; writes queue for one thread that owns the file.

    That thread commits whatever waits (64 at most) as one transaction: one fsync serves many
    callers. A piece of work that fails is its own caller's error alone; where it had already
    written, the transaction is undone and each piece is run again by itself. So work may run
    twice, and must touch nothing but its transaction.
    `on_commit` is handed the rung topics on the writer's thread, after the commit and before the
    callers have their answers.
    """

    def __init__(self, url: str, on_commit: Callable[[Sequence[str]], None]) -> None:
        self.local = sa.make_url(url).get_backend_name() == "sqlite"
        self._writes = make_engine(url)
        self._readers = _Readers(url)
        self._on_commit = on_commit
        self._queue: SimpleQueue[_Work[Any] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write_loop, name="writer", daemon=True)
        self._thread.start()

    def write(self, run: Callable[[Transaction], T]) -> Future[T]:
        """Run within a transaction, soon. The future resolves once it is durable."""
        work = _Work(run)
        self._queue.put(work)
        return work.future

    def read(self, run: Callable[[Transaction], T]) -> T:
        """Run now, against what is committed; writing fails."""
        return run(Transaction(self._readers.connection()))

    def close(self) -> None:
        """Finish what was asked for, then let go of the file."""
        self._queue.put(None)
        self._thread.join()
        self._readers.close()
        self._writes.dispose()

    def _write_loop(self) -> None:
        with self._writes.connect() as connection:
            while batch := self._next_batch():
                self._commit(connection, batch)

    def _next_batch(self) -> list[_Work[Any]]:
        """Wait for one, then take what else is there; empty when the database closes."""
        work = self._queue.get()
        batch: list[_Work[Any]] = []
        while work is not None:
            if work.future.set_running_or_notify_cancel():
                batch.append(work)
            if len(batch) == _MAX_BATCH:
                return batch
            try:
                work = self._queue.get(block=not batch)
            except Empty:
                return batch
        if batch:
            self._queue.put(None)  # close after this batch
        return batch

    def _commit(self, connection: sa.Connection, batch: list[_Work[Any]]) -> None:
        """One transaction for all of `batch`; where one of them spoils it, one for each."""
        topics: list[str] = []
        try:
            with connection.begin():
                answers = [self._attempt(connection, work, batch, topics) for work in batch]
        except _Spoiled:
            for work in batch:
                self._commit(connection, [work])
            return
        except Exception as error:  # noqa: BLE001 - rolled back: nobody's work happened
            for work in batch:
                work.future.set_exception(error)
            return
        self._on_commit(topics)
        for answer in answers:
            answer()

    def _attempt(
        self,
        connection: sa.Connection,
        work: _Work[Any],
        batch: list[_Work[Any]],
        topics: list[str],
    ) -> Callable[[], None]:
        """Run one piece; the answer is given once the transaction is committed."""
        transaction = Transaction(connection)
        try:
            result = work.run(transaction)
        except sa.exc.DBAPIError:
            raise  # the disk or the server: what is left of the transaction is not known
        except Exception as error:
            if transaction.wrote:
                raise error if len(batch) == 1 else _Spoiled from error
            return partial(work.future.set_exception, error)
        topics += transaction.topics
        return partial(work.future.set_result, result)


class _Spoiled(Exception):
    """A piece of work failed after it had written: its batch cannot be committed."""


def make_engine(url: str, *, read_only: bool = False) -> sa.Engine:
    """An engine for SQLite or Postgres; all of SQLite's own settings are made here."""
    parsed = sa.make_url(url)
    options: dict[str, Any] = {}
    if read_only:
        options = {"isolation_level": "AUTOCOMMIT", "poolclass": sa.NullPool}
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, **options)
    engine = sa.create_engine(parsed, **options)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # Python's sqlite3 must not begin on its own
        connection.executescript(_PRAGMAS)
        if read_only:
            connection.execute("PRAGMA query_only = ON")

    if not read_only:

        @event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            # A deferred BEGIN that later writes fails at once with SQLITE_BUSY.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
