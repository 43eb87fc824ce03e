"""The database: reads at once, writes by one writer with group commit."""

import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import sqlalchemy as sa

from service.domain.errors import Unavailable
from service.domain.topics import Topic
from service.store.durability import Durability, Immediate, Offsite, Replicated
from service.store.engine import make_engine, parse
from service.store.notify import PostgresNotify
from service.store.readers import PooledReaders, Readers, ThreadReaders
from service.store.transaction import Transaction
from service.store.work import BatchRun, Work
from service.store.writer import Writer

log = logging.getLogger(__name__)

T = TypeVar("T")
Item = TypeVar("Item")


class Database:
    """Reads run at once on the caller's thread; writes queue for one thread.

    A write may run more than once, and must touch nothing but its transaction, or say there how
    that is undone.

    `on_commit` gets the published topics after the commit and before the callers have their
    answers; on Postgres also those of other processes, soon after they committed. A disk or server
    that fails is Unavailable, to readers and writers. Where a connection to Postgres was lost in
    the very commit, its outcome is unknown: that too is Unavailable, and the caller asks again by
    its Idempotency-Key. What has waited some seconds for a lock of another process is Busy.

    With an `offsite` place the answer to a write is given, and its topics are published, once the
    commit is there too; where it cannot be put there, that is Unavailable, and the same holds.
    """

    def __init__(
        self,
        url: str,
        on_commit: Callable[[Sequence[Topic]], None],
        offsite: Offsite | None = None,
    ) -> None:
        self.local = parse(url).get_backend_name() == "sqlite"
        self._engine = make_engine(url, bounded=True, keep_log=offsite is not None)
        self._readers: Readers = ThreadReaders(url) if self.local else PooledReaders(url)
        self._on_commit = on_commit
        self._close_lock = threading.Lock()
        self._closed = False
        self.durability = self._durability(offsite)
        self._notify = None if self.local else PostgresNotify(url, self._publish)
        self._writer = Writer(
            self._engine, self._readers, self.durability, self._publish, self._notify
        )

    def check_owner(self) -> None:
        """Raise Unavailable where another process may be the one that owns this database."""
        self.durability.check_owner()

    def write(self, run: Callable[[Transaction], T], *, replicated: bool = True) -> Future[T]:
        """Run within a transaction, soon. The future resolves once it is durable.

        A change that nobody relies on, as the next one repeats it, need not be `replicated`: it is
        answered when it is committed here.
        """
        return self._add(Work(lambda tx, _: [run(tx)], None, replicated))

    def write_together(
        self, run: BatchRun[Item, T], item: Item, *, lock: Hashable = None
    ) -> Future[T]:
        """Run work that costs little more for many items than for one.

        All items that wait for the same `run` at that moment are handed to it at once. An error
        among its answers is that item's alone, for which nothing may have been written; Busy is
        run again, for some seconds. Works of one `lock` need the lock of the same row: while one
        of them cannot get it, the others wait without a try of their own.
        """
        return self._add(Work(run, item, lock=lock))

    def read(self, run: Callable[[Transaction], T]) -> T:
        """Run now, against what is committed. A write is refused."""
        if self._closed:
            raise Unavailable("the service is stopping")
        self.durability.check_reader()
        return self._readers.read(lambda connection: run(Transaction(connection)))

    def check_writable(self) -> Future[None]:
        """Its error is Unavailable where nothing can be written just now."""
        return self.write(_change_nothing, replicated=False)

    def close(self) -> None:
        """Finish what was asked for, then let go of the database."""
        with self._close_lock:
            self._closed = True
        self._writer.close()
        self.durability.close()
        if self._notify is not None:
            self._notify.close()
        self._dispose()

    def _durability(self, offsite: Offsite | None) -> Durability:
        if offsite is None:
            return Immediate()
        try:
            return Replicated(offsite, self._engine)
        except BaseException:
            self._dispose()
            raise

    def _dispose(self) -> None:
        self._readers.close()
        self._engine.dispose()

    def _add(self, work: Work[Any, T]) -> Future[T]:
        with self._close_lock:
            if self._closed:
                work.future.set_exception(Unavailable("the service is stopping"))
                return work.future
            try:
                self.check_owner()
            except Unavailable as error:
                work.future.set_exception(error)
            else:
                self._writer.add(work)
        return work.future

    def _publish(self, topics: Sequence[Topic]) -> None:
        """Hand topics to `on_commit`; the work is done, whatever becomes of that."""
        try:
            self._on_commit(topics)
        except Exception as fault:
            log.error("topics of a commit could not be published", exc_info=fault)


def _change_nothing(tx: Transaction) -> None:
    """Refused like any change by a session that only reads."""
    tx.execute(_NO_CHANGE)


_NO_CHANGE = sa.text("UPDATE turns SET holder = holder WHERE false")
