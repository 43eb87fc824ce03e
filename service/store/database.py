"""One writer with group commit, readers that never wait for it: the whole use of a connection."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.sql.base import Executable

from service.domain.errors import ServiceError, Unavailable
from service.log import Log
from service.store.ear import Ear
from service.store.engine import make_engine, parse
from service.store.readers import PooledReaders, Readers, ThreadReaders, unavailable

log = Log(__name__)

T = TypeVar("T")
Item = TypeVar("Item")

_MAX_BATCH = 64
_MOST_RUNS = 4


@dataclass
class Transaction:
    """One unit of work. `ring` names what must be heard about once this is committed."""

    connection: sa.Connection
    topics: list[str] = field(default_factory=list)
    wrote: bool = False

    def execute(self, statement: Executable, values: Any = None) -> sa.CursorResult[Any]:
        result = self.connection.execute(statement, values)
        if not statement.is_select:
            # A guarded UPDATE that matched nothing has spoiled nothing.
            self.wrote = self.wrote or result.returns_rows or result.rowcount != 0
        return result

    def ring(self, topic: str) -> None:
        self.topics.append(topic)


# Work of one kind on several items: an answer for each, which is an error where it must be one.
Together: TypeAlias = Callable[[Transaction, list[Item]], Sequence[T | ServiceError]]


@dataclass
class _Work(Generic[Item, T]):
    run: Together[Item, T]
    item: Item
    future: Future[T] = field(default_factory=Future)

    def resolve(self, answer: T | Exception) -> None:
        if isinstance(answer, Exception):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


# A piece of work and what came of it: its answer, or the error that it is to raise.
_Answered: TypeAlias = tuple[_Work[Any, Any], Any]


class Database:
    """Reads run at once on the caller's thread; writes queue for one thread.

    That thread commits whatever waits (64 at most) as one transaction: one fsync serves many
    callers. A piece of work that fails is its own caller's error alone; where it may have spoiled
    the transaction, that is undone and each piece is run again by itself. So work may run more
    than once, and must touch nothing but its transaction.

    `on_commit` is handed the rung topics after the commit and before the callers have their
    answers; on Postgres also those that other processes rang, soon after they did. A disk or
    server that fails is Unavailable, to readers and writers. Where a connection to Postgres broke
    in the very commit, nobody knows whether it happened: that too is Unavailable, and the caller
    asks again by its Idempotency-Key.
    """

    def __init__(self, url: str, on_commit: Callable[[Sequence[str]], None]) -> None:
        self.local = parse(url).get_backend_name() == "sqlite"
        self._writes = make_engine(url, bounded=True)
        self._readers: Readers = ThreadReaders(url) if self.local else PooledReaders(url)
        self._on_commit = on_commit
        self._ear = None if self.local else Ear(url, self._tell)
        self._queue: SimpleQueue[_Work[Any, Any] | None] = SimpleQueue()
        self._door = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._write_loop, name="writer", daemon=True)
        self._thread.start()

    def write(self, run: Callable[[Transaction], T]) -> Future[T]:
        """Run within a transaction, soon. The future resolves once it is durable."""
        return self.write_together(lambda tx, _: [run(tx)], None)

    def write_together(self, run: Together[Item, T], item: Item) -> Future[T]:
        """The same for work that costs little more for many than for one: all items that wait for
        the same `run` at that moment are handed to it at once. An error among its answers is that
        item's alone, for which nothing may have been written."""
        work = _Work(run, item)
        with self._door:
            if self._closed:
                work.future.set_exception(Unavailable("the service is stopping"))
            else:
                self._queue.put(work)
        return work.future

    def read(self, run: Callable[[Transaction], T]) -> T:
        """Run now, against what is committed. A write is refused."""
        return self._readers.read(lambda connection: run(Transaction(connection)))

    def close(self) -> None:
        """Finish what was asked for, then let go of the database."""
        with self._door:
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        if self._ear is not None:
            self._ear.close()
        self._readers.close()
        self._writes.dispose()

    def _write_loop(self) -> None:
        while batch := self._next_batch():
            self._commit(batch)

    def _next_batch(self) -> list[_Work[Any, Any]]:
        """Wait for one, then take what else is there; empty when the database closes."""
        work = self._queue.get()
        batch: list[_Work[Any, Any]] = []
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

    def _commit(self, batch: list[_Work[Any, Any]], run: int = 1) -> None:
        """One transaction for all of `batch`; where one of them spoils it, one for each."""
        topics: list[str] = []
        try:
            answered = self._transact(batch, topics)
        except _Unsure as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - undone: nobody's work happened
            if len(batch) > 1:
                for work in batch:
                    self._commit([work])
            elif run < _MOST_RUNS and self._crossed(error):
                self._commit(batch, run + 1)
            else:
                _fail(batch, error)
        else:
            self._tell(topics)
            for work, answer in answered:
                work.resolve(answer)

    def _transact(self, batch: list[_Work[Any, Any]], topics: list[str]) -> list[_Answered]:
        """Raises _Unsure where the commit itself failed and may have happened."""
        with self._writes.connect() as connection:
            if len(batch) > 1 and not self.local:
                # Two processes that group their work may lock the same rows crosswise. Alone, no
                # piece of work can: so the group gives way soon, and its pieces run one by one.
                connection.execute(_GIVE_WAY)
            answered = [
                pair for alike in _alike(batch) for pair in self._attempt(connection, alike, topics)
            ]
            if self._ear is not None:
                self._ear.shout(connection, topics)
            try:
                connection.commit()
            except DBAPIError as error:
                if self.local:
                    raise
                log.warning("database broke off in a commit", error=error.orig)
                raise _Unsure("the database broke off; whether it was done is not known") from error
            return answered

    def _attempt(
        self, connection: sa.Connection, alike: list[_Work[Any, Any]], topics: list[str]
    ) -> list[_Answered]:
        """Run pieces of one kind; answers are given once the transaction is committed.

        Raises what would spoil the transaction: an error of the database, or any after a write.
        """
        transaction = Transaction(connection)
        try:
            answers = alike[0].run(transaction, [work.item for work in alike])
        except Exception as error:
            if transaction.wrote or isinstance(error, DBAPIError):
                raise
            return [(work, error) for work in alike]
        topics += transaction.topics
        return list(zip(alike, answers, strict=True))

    def _crossed(self, error: Exception) -> bool:
        """Whether another process was in the way, or the connection had gone stale: the work was
        undone, and may well succeed now."""
        return not self.local and isinstance(error, IntegrityError | OperationalError)

    def _tell(self, topics: Sequence[str]) -> None:
        """The work is done, whatever becomes of the telling."""
        try:
            self._on_commit(topics)
        except Exception as fault:  # noqa: BLE001
            log.error("a commit could not be told", fault)


def _alike(batch: list[_Work[Any, Any]]) -> list[list[_Work[Any, Any]]]:
    """By what they run, in the order in which each kind came first."""
    kinds: dict[Any, list[_Work[Any, Any]]] = {}
    for work in batch:
        kinds.setdefault(work.run, []).append(work)
    return list(kinds.values())


_GIVE_WAY = sa.text("SET LOCAL lock_timeout = '100ms'")


class _Unsure(Unavailable):
    """The answer to a commit was lost."""


def _fail(batch: list[_Work[Any, Any]], error: Exception) -> None:
    told = unavailable(error) if isinstance(error, SQLAlchemyError) else error
    for work in batch:
        work.future.set_exception(told)
