"""One writer with group commit, readers that never wait for it: the whole use of a connection."""

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from service.domain.errors import Busy, Unavailable
from service.domain.ports import Offsite
from service.log import Log
from service.store.aside import LockWaits
from service.store.engine import READ_ONLY, make_engine, parse, sqlstate
from service.store.notify import PostgresNotify
from service.store.readers import PooledReaders, Readers, ThreadReaders, is_lost
from service.store.shipper import PendingCommit, Shipper
from service.store.transaction import Transaction
from service.store.work import Done, Together, Work, all_topics, answer_all, by_kind, fail_all

log = Log(__name__)

T = TypeVar("T")
Item = TypeVar("Item")
Undo: TypeAlias = list[Callable[[], None]]

_MAX_BATCH = 64
# After a commit for more than a few the next one waits a moment, so that callers get their turn to
# ask: half as many commits for the same work cost less than the moment. A caller who comes alone
# waits only where a few came just before.
_A_FEW = 2
_GATHER_SECONDS = 0.0003
_MAX_RUNS = 4


class Database:
    """Reads run at once on the caller's thread; writes queue for one thread.

    That thread commits whatever waits (64 at most) as one transaction: one fsync serves many
    callers. A piece of work that fails is its own caller's error alone; where it may have spoiled
    the transaction, that is undone and each piece is run again by itself. So work may run more
    than once, and must touch nothing but its transaction, or say there how that is undone.

    `on_commit` is handed the rung topics after the commit and before the callers have their
    answers; on Postgres also those that other processes rang, soon after they did. A disk or
    server that fails is Unavailable, to readers and writers. Where a connection to Postgres broke
    in the very commit, nobody knows whether it happened: that too is Unavailable, and the caller
    asks again by its Idempotency-Key.

    Where another process holds a lock on Postgres, what needs that lock is set aside, and all else
    goes on. What has waited so for some seconds is Busy.

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
        self._ear = None if self.local else PostgresNotify(url, self._tell)
        self._queue: SimpleQueue[Work[Any, Any] | None] = SimpleQueue()
        self._aside = LockWaits()
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
        return self._enqueue(Work(lambda tx, _: [run(tx)], None, soft))

    def write_together(
        self, run: Together[Item, T], item: Item, *, lane: Hashable = None
    ) -> Future[T]:
        """The same for work that costs little more for many than for one: all items that wait for
        the same `run` at that moment are handed to it at once. An error among its answers is that
        item's alone, for which nothing may have been written. What is Busy is run again, for some
        seconds.

        Works of one `lane` need the lock of the same row: while it is not to be had for one of
        them, the others wait without a try of their own.
        """
        return self._enqueue(Work(run, item, lane=lane))

    def _enqueue(self, work: Work[Any, T]) -> Future[T]:
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

    def check_writable(self) -> Future[None]:
        """Its error is Unavailable where nothing can be written just now."""
        return self.write(_change_nothing, soft=True)

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
        while (batch := self._next_batch(_GATHER_SECONDS if crowded else 0.0)) is not None:
            crowded = len(batch) > _A_FEW
            self._commit(self._without_lanes_aside(batch))
            for waiting in self._aside.take_due():
                self._try_again(waiting)
        for waiting in self._aside.take_all():
            fail_all(waiting, Unavailable("the service is stopping"))

    def _next_batch(self, gather_seconds: float) -> list[Work[Any, Any]] | None:
        """Wait for one, and that long for more, then take what is there; nothing when it is time
        to look aside, and None when the database closes."""
        batch: list[Work[Any, Any]] = []
        try:
            work = self._queue.get(timeout=self._aside.pause())
            if gather_seconds:
                time.sleep(gather_seconds)
            while work is not None:
                if work.future.set_running_or_notify_cancel():
                    batch.append(work)
                if len(batch) == _MAX_BATCH:
                    return batch
                work = self._queue.get(block=not batch, timeout=self._aside.pause())
        except Empty:
            return batch
        if batch:
            self._queue.put(None)  # close after this batch
        return batch or None

    def _without_lanes_aside(self, batch: list[Work[Any, Any]]) -> list[Work[Any, Any]]:
        """Whoever needs a lock that others wait for already waits with them."""
        if not self._aside:
            return batch
        free = []
        for work in batch:
            if self._aside.holds(work):
                self._set_aside(work)
            else:
                free.append(work)
        return free

    def _set_aside(self, work: Work[Any, Any]) -> None:
        if not self._aside.put(work):
            fail_all([work], Busy())

    def _try_again(self, waiting: list[Work[Any, Any]]) -> None:
        """Of what one lock has kept waiting one finds out whether it is free, for all of them."""
        self._commit(waiting[:1], brief=True)
        for start in range(1, len(waiting), _MAX_BATCH):
            self._commit(self._without_lanes_aside(waiting[start : start + _MAX_BATCH]))

    def _commit(self, batch: list[Work[Any, Any]], run: int = 1, *, brief: bool = False) -> None:
        """One transaction for all of `batch`; where one of them spoils it, one for each. A `brief`
        one gives way at once to whoever holds a lock."""
        if not batch:
            return
        try:
            with self._quiet, _undoing() as undo:
                done = self._transact(batch, brief or bool(self._aside), undo)
        except _CommitUnknown as error:
            fail_all(batch, error)
        except Exception as error:  # noqa: BLE001 - undone: nobody's work happened
            self._recover(batch, error, run)
        else:
            self._tell_or_hold(done)

    def _recover(self, batch: list[Work[Any, Any]], error: Exception, run: int) -> None:
        """What was undone is run again where it may well succeed, and else answered."""
        if is_lost(error):
            self._readers.renew()  # the database may be on another server by now
        if is_lost(error) and run == 1:
            self._commit(batch, run + 1)
        elif self._is_away(error):
            fail_all(batch, error)
        elif len(batch) > 1:
            for work in batch:
                self._commit(self._without_lanes_aside([work]), brief=True)
        elif sqlstate(error) in _LOCKED:
            self._set_aside(batch[0])
        elif run < _MAX_RUNS and self._crossed(error):
            self._commit(batch, run + 1)
        else:
            fail_all(batch, error)

    def _tell_or_hold(self, done: list[Done]) -> None:
        if self._shipper is not None:
            hard = [one for one in done if not one.work.soft]
            done = [one for one in done if one.work.soft]
            tell, works = partial(self._tell, all_topics(hard)), [one.work for one in hard]
            if hard:
                self._shipper.hold(
                    PendingCommit(tell, partial(answer_all, hard), partial(fail_all, works))
                )
        self._tell(all_topics(done))
        for one in done:
            if isinstance(one.answer, Busy):
                self._set_aside(one.work)
            else:
                one.work.resolve(one.answer)

    def _transact(self, batch: list[Work[Any, Any]], brief: bool, undo: Undo) -> list[Done]:
        """Raises _Unsure where the commit itself failed and may have happened."""
        with self._writes.connect() as connection:
            if brief and not self.local:
                connection.execute(_BRIEFLY)
            done = [
                one for alike in by_kind(batch) for one in self._attempt(connection, alike, undo)
            ]
            if self._ear is not None:
                self._ear.notify_others(connection, all_topics(done))
            try:
                connection.commit()
            except DBAPIError as error:
                if self._offsite is not None:
                    self._offsite.doubt()
                if self.local:
                    raise
                log.warning("database broke off in a commit", error=error.orig)
                raise _CommitUnknown(
                    "the database broke off; whether it was done is not known"
                ) from error
            return done

    def _attempt(
        self, connection: sa.Connection, alike: list[Work[Any, Any]], undo: Undo
    ) -> list[Done]:
        """Run pieces of one kind; answers are given once the transaction is committed.

        Raises what would spoil the transaction: an error of the database, or any after a write.
        """
        transaction = Transaction(connection, undo=undo)
        try:
            answers = alike[0].run(transaction, [work.item for work in alike])
        except Exception as error:
            if transaction.wrote or isinstance(error, DBAPIError):
                raise
            return [Done(work, error) for work in alike]
        done = [Done(work, answer) for work, answer in zip(alike, answers, strict=True)]
        return [replace(done[0], topics=transaction.topics), *done[1:]]

    def _is_away(self, error: Exception) -> bool:
        """Whether no server that takes writes was found: then no piece of work is to blame, and
        none of them has to find that out for itself."""
        if self.local or not isinstance(error, DBAPIError):
            return False
        return error.statement is None or sqlstate(error) == READ_ONLY  # None: not even connected

    def _crossed(self, error: Exception) -> bool:
        """Whether another process was in the way, or the connection had gone stale: the work was
        undone, and may well succeed now."""
        return not self.local and (isinstance(error, IntegrityError) or is_lost(error))

    def _tell(self, topics: Sequence[str]) -> None:
        """The work is done, whatever becomes of the telling."""
        try:
            self._on_commit(topics)
        except Exception as fault:  # noqa: BLE001
            log.error("a commit could not be told", fault)


@contextmanager
def _undoing() -> Iterator[Undo]:
    """What works have changed beside the database is put back where they were not committed."""
    undo: Undo = []
    try:
        yield undo
    except BaseException:
        for act in undo:
            act()
        raise


def _change_nothing(tx: Transaction) -> None:
    """Refused like any change by a session that only reads."""
    tx.execute(_NO_CHANGE)


_NO_CHANGE = sa.text("UPDATE turns SET holder = holder WHERE false")
_BRIEFLY = sa.text("SET LOCAL lock_timeout = '20ms'")
# Not to be had in time; a deadlock; a serialization failure.
_LOCKED = frozenset({"55P03", "40P01", "40001"})


class _CommitUnknown(Unavailable):
    """The answer to a commit was lost."""
