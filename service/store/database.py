"""One writer with group commit, readers that never wait for it: the whole use of a connection."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.sql.base import Executable

from service.domain.errors import Unavailable
from service.store.engine import make_engine

log = logging.getLogger(__name__)

T = TypeVar("T")

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


class Database:
    """Reads run at once on the caller's thread; writes queue for one thread that owns the file.

    That thread commits whatever waits (64 at most) as one transaction: one fsync serves many
    callers. A piece of work that fails is its own caller's error alone; where it may have spoiled
    the transaction, that is undone and each piece is run again by itself. So work may run twice,
    and must touch nothing but its transaction.

    `on_commit` is handed the rung topics on the writer's thread, after the commit and before the
    callers have their answers. A disk or server that fails is Unavailable, to readers and writers.
    """

    def __init__(self, url: str, on_commit: Callable[[Sequence[str]], None]) -> None:
        self.local = sa.make_url(url).get_backend_name() == "sqlite"
        self._writes = make_engine(url)
        self._readers = _Readers(url)
        self._on_commit = on_commit
        self._queue: SimpleQueue[_Work[Any] | None] = SimpleQueue()
        self._door = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._write_loop, name="writer", daemon=True)
        self._thread.start()

    def write(self, run: Callable[[Transaction], T]) -> Future[T]:
        """Run within a transaction, soon. The future resolves once it is durable."""
        work = _Work(run)
        with self._door:
            if self._closed:
                work.future.set_exception(Unavailable("the service is stopping"))
            else:
                self._queue.put(work)
        return work.future

    def read(self, run: Callable[[Transaction], T]) -> T:
        """Run now, against what is committed. On SQLite, a write is refused."""
        try:
            return run(Transaction(self._readers.connection()))
        except (OperationalError, InterfaceError) as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Finish what was asked for, then let go of the file."""
        with self._door:
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._readers.close()
        self._writes.dispose()

    def _write_loop(self) -> None:
        while batch := self._next_batch():
            self._commit(batch)

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

    def _commit(self, batch: list[_Work[Any]]) -> None:
        """One transaction for all of `batch`; where one of them spoils it, one for each."""
        topics: list[str] = []
        try:
            with self._writes.begin() as connection:
                answers = [self._attempt(connection, work, topics) for work in batch]
        except Exception as error:  # noqa: BLE001 - undone: nobody's work happened
            if len(batch) == 1:
                batch[0].future.set_exception(_told(error))
                return
            for work in batch:
                self._commit([work])
            return
        self._tell(topics)
        for answer in answers:
            answer()

    def _attempt(
        self, connection: sa.Connection, work: _Work[Any], topics: list[str]
    ) -> Callable[[], None]:
        """Run one piece; the answer is given once the transaction is committed.

        Raises what would spoil the transaction: an error of the database, or any after a write.
        """
        transaction = Transaction(connection)
        try:
            result = work.run(transaction)
        except Exception as error:
            if transaction.wrote or isinstance(error, DBAPIError):
                raise
            return partial(work.future.set_exception, error)
        topics += transaction.topics
        return partial(work.future.set_result, result)

    def _tell(self, topics: list[str]) -> None:
        """The work is done, whatever becomes of the telling."""
        try:
            self._on_commit(topics)
        except Exception:
            log.exception("a commit could not be told")


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


def _told(error: Exception) -> Exception:
    return _unavailable(error) if isinstance(error, OperationalError | InterfaceError) else error


def _unavailable(error: DBAPIError) -> Unavailable:
    unavailable = Unavailable(f"the database does not answer: {error.orig}")
    unavailable.__cause__ = error
    return unavailable
