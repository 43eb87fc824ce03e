"""One writer with group commit, readers that never wait for it: the whole use of a connection."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.sql.base import Executable

T = TypeVar("T")

# FULL, because an answered 202 must outlive a power cut: NORMAL loses acknowledged rows.
_PRAGMAS = """
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
    PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 1000; PRAGMA temp_store = MEMORY;
"""
_MAX_BATCH = 64


@dataclass
class Transaction:
    """One unit of work. `ring` names what must be heard about once this is committed."""

    connection: sa.Connection
    topics: list[str] = field(default_factory=list)

    def execute(self, statement: Executable, values: Any = None) -> sa.CursorResult[Any]:
        return self.connection.execute(statement, values)

    def ring(self, topic: str) -> None:
        self.topics.append(topic)


@dataclass
class _Work(Generic[T]):
    run: Callable[[Transaction], T]
    future: Future[T] = field(default_factory=Future)


class Database:
    """Reads run at once on the caller's thread; writes queue for one thread that owns the file.

    That thread commits whatever waits (64 at most) as one transaction, each piece of work in a
    savepoint of its own: one fsync serves many callers, and one caller's error is its own.
    `on_commit` is handed the rung topics, on the writer's thread, after the commit.
    """

    def __init__(self, url: str, on_commit: Callable[[Sequence[str]], None]) -> None:
        self.local = sa.make_url(url).get_backend_name() == "sqlite"
        self._writes = make_engine(url)
        self._reads = make_engine(url, read_only=True)
        self._on_commit = on_commit
        self._queue: SimpleQueue[_Work[Any] | None] = SimpleQueue()
        self._thread = Thread(target=self._write_loop, name="writer", daemon=True)
        self._thread.start()

    def write(self, run: Callable[[Transaction], T]) -> Future[T]:
        """Run within a transaction, soon. The future resolves once it is durable."""
        work = _Work(run)
        self._queue.put(work)
        return work.future

    def read(self, run: Callable[[Transaction], T]) -> T:
        """Run now, against what is committed; writing fails."""
        with self._reads.connect() as connection:
            return run(Transaction(connection))

    def close(self) -> None:
        """Finish what was asked for, then let go of the file."""
        self._queue.put(None)
        self._thread.join()
        self._writes.dispose()
        self._reads.dispose()

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
        topics: list[str] = []
        try:
            with connection.begin():
                answers = [self._attempt(connection, work, topics) for work in batch]
        except Exception as error:  # noqa: BLE001 - the commit failed: nobody's work happened
            for work in batch:
                work.future.set_exception(error)
            return
        for answer in answers:
            answer()
        self._on_commit(topics)

    def _attempt(
        self, connection: sa.Connection, work: _Work[Any], topics: list[str]
    ) -> Callable[[], None]:
        transaction = Transaction(connection)
        try:
            with connection.begin_nested():
                result = work.run(transaction)
        except sa.exc.OperationalError:
            raise  # the disk or the server: SQLite may have rolled the whole batch back
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            failure = error
            return lambda: work.future.set_exception(failure)
        topics += transaction.topics
        return lambda: work.future.set_result(result)


def make_engine(url: str, *, read_only: bool = False) -> sa.Engine:
    """An engine for SQLite or Postgres; all of SQLite's own settings are made here."""
    parsed = sa.make_url(url)
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"} if read_only else {}
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_pre_ping=True, **options)
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
