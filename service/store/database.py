"""One writer with group commit, readers that never wait for it: the whole use of a connection."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.sql.base import Executable

from service.domain.errors import ServiceError, Unavailable
from service.domain.ports import Offsite
from service.log import Log
from service.store.ear import Ear
from service.store.engine import make_engine, parse
from service.store.held import Held, Shipper
from service.store.readers import PooledReaders, Readers, ThreadReaders, unavailable

log = Log(__name__)

T = TypeVar("T")
Item = TypeVar("Item")

_MAX_BATCH = 64
# After a commit for more than a few the next one waits a moment, so that callers get their turn to
# ask: half as many commits for the same work cost less than the moment. A caller who comes alone
# waits only where a few came just before.
_A_FEW = 2
_GATHER_SECONDS = 0.0003
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
    soft: bool = False
    future: Future[T] = field(default_factory=Future)

    def resolve(self, answer: T | Exception) -> None:
        if isinstance(answer, Exception):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


@dataclass(frozen=True)
class _Done:
    """A piece of work that is committed and not yet answered: by an error where it must be one."""

    work: _Work[Any, Any]
    answer: Any
    topics: Sequence[str] = ()


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

    With an `offsite` place the answer to a write is given, and its topics are told, once it is
    there too; where it cannot be put there, that is Unavailable, and the same holds.
    """

    def __init__(
        self,
        url: str,
        on_commit: Callable[[Sequence[str]], None],
        offsite: Offsite | None = None,
    ) -> None:
        self.local = parse(url).get_backend_name() == "sqlite"
        self._writes = make_engine(url, bounded=True, keep_log=offsite is not None)
        self._readers: Readers = ThreadReaders(url) if self.local else PooledReaders(url)
        self._on_commit = on_commit
        self._ear = None if self.local else Ear(url, self._tell)
        self._queue: SimpleQueue[_Work[Any, Any] | None] = SimpleQueue()
        self._door = threading.Lock()
        self._closed = False
        self._offsite = offsite
        self._quiet = threading.Lock()
        self._shipper = None if offsite is None else self._first_shipped(offsite)
        self._thread = threading.Thread(target=self._write_loop, name="writer", daemon=True)
        self._thread.start()

    @property
    def prompt(self) -> bool:
        """Whether a write waits for nothing but this machine's disk."""
        return self.local and self._offsite is None

    def check_owner(self) -> None:
        """Raise Unavailable where another process may be the one that owns this database."""
        if self._offsite is not None:
            self._offsite.check_owner()

    def write(self, run: Callable[[Transaction], T], *, soft: bool = False) -> Future[T]:
        """Run within a transaction, soon. The future resolves once it is durable.

        A `soft` change is one that nobody relies on, as the next one will say it again: it is
        answered when it is committed here, and waits for no other place.
        """
        return self._enqueue(_Work(lambda tx, _: [run(tx)], None, soft))

    def write_together(self, run: Together[Item, T], item: Item) -> Future[T]:
        """The same for work that costs little more for many than for one: all items that wait for
        the same `run` at that moment are handed to it at once. An error among its answers is that
        item's alone, for which nothing may have been written."""
        return self._enqueue(_Work(run, item))

    def _enqueue(self, work: _Work[Any, T]) -> Future[T]:
        with self._door:
            if self._closed:
                work.future.set_exception(Unavailable("the service is stopping"))
            elif (refusal := self._refusal()) is not None:
                work.future.set_exception(refusal)
            else:
                self._queue.put(work)
        return work.future

    def read(self, run: Callable[[Transaction], T]) -> T:
        """Run now, against what is committed. A write is refused."""
        if self._closed:
            raise Unavailable("the service is stopping")
        if self._offsite is not None:
            self._offsite.check_reader()
        return self._readers.read(lambda connection: run(Transaction(connection)))

    def close(self) -> None:
        """Finish what was asked for, then let go of the database."""
        with self._door:
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        if self._shipper is not None:
            self._shipper.close()
        if self._ear is not None:
            self._ear.close()
        self._let_go()

    def _let_go(self) -> None:
        self._readers.close()
        self._writes.dispose()

    def _refusal(self) -> Unavailable | None:
        try:
            self.check_owner()
        except Unavailable as error:
            return error
        return None

    def _first_shipped(self, offsite: Offsite) -> Shipper:
        """What a new owner begins with is offsite, under its name, before anybody is answered."""
        ship = partial(offsite.ship, self._quietly)
        try:
            ship()
        except BaseException:
            self._let_go()
            raise
        shipper = Shipper(ship)
        shipper.start()
        return shipper

    @contextmanager
    def _quietly(self) -> Iterator[Any]:
        """The driver's own writing connection, while the writer does nothing."""
        with self._quiet, closing(self._writes.raw_connection()) as connection:
            yield connection.driver_connection

    def _write_loop(self) -> None:
        crowded = False
        while batch := self._next_batch(_GATHER_SECONDS if crowded else 0.0):
            crowded = len(batch) > _A_FEW
            self._commit(batch)

    def _next_batch(self, gather_seconds: float) -> list[_Work[Any, Any]]:
        """Wait for one, and that long for more, then take what is there; empty when the database
        closes."""
        work = self._queue.get()
        if gather_seconds:
            time.sleep(gather_seconds)
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
        try:
            with self._quiet:
                done = self._transact(batch)
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
            self._tell_or_hold(done)

    def _tell_or_hold(self, done: list[_Done]) -> None:
        if self._shipper is not None:
            hard = [one for one in done if not one.work.soft]
            done = [one for one in done if one.work.soft]
            tell, works = partial(self._tell, _topics(hard)), [one.work for one in hard]
            if hard:
                self._shipper.hold(Held(tell, partial(_answer, hard), partial(_fail, works)))
        self._tell(_topics(done))
        _answer(done)

    def _transact(self, batch: list[_Work[Any, Any]]) -> list[_Done]:
        """Raises _Unsure where the commit itself failed and may have happened."""
        with self._writes.connect() as connection:
            if len(batch) > 1 and not self.local:
                # Two processes that group their work may lock the same rows crosswise. Alone, no
                # piece of work can: so the group gives way soon, and its pieces run one by one.
                connection.execute(_GIVE_WAY)
            done = [one for alike in _alike(batch) for one in self._attempt(connection, alike)]
            if self._ear is not None:
                self._ear.shout(connection, _topics(done))
            try:
                connection.commit()
            except DBAPIError as error:
                if self._offsite is not None:
                    self._offsite.doubt()
                if self.local:
                    raise
                log.warning("database broke off in a commit", error=error.orig)
                raise _Unsure("the database broke off; whether it was done is not known") from error
            return done

    def _attempt(self, connection: sa.Connection, alike: list[_Work[Any, Any]]) -> list[_Done]:
        """Run pieces of one kind; answers are given once the transaction is committed.

        Raises what would spoil the transaction: an error of the database, or any after a write.
        """
        transaction = Transaction(connection)
        try:
            answers = alike[0].run(transaction, [work.item for work in alike])
        except Exception as error:
            if transaction.wrote or isinstance(error, DBAPIError):
                raise
            return [_Done(work, error) for work in alike]
        done = [_Done(work, answer) for work, answer in zip(alike, answers, strict=True)]
        return [replace(done[0], topics=transaction.topics), *done[1:]]

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


def _topics(done: list[_Done]) -> list[str]:
    return [topic for one in done for topic in one.topics]


def _answer(done: list[_Done]) -> None:
    for one in done:
        one.work.resolve(one.answer)


def _fail(batch: list[_Work[Any, Any]], error: Exception) -> None:
    told = unavailable(error) if isinstance(error, SQLAlchemyError) else error
    for work in batch:
        work.future.set_exception(told)
