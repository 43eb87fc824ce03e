"""One thread that commits all writes, many of them in one transaction."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from service.domain.errors import Busy, Unavailable
from service.domain.topics import Topic
from service.store.durability import Durability
from service.store.engine import READ_ONLY, sqlstate
from service.store.lock_waits import LockWaits
from service.store.notify import PostgresNotify
from service.store.readers import Readers, is_lost
from service.store.transaction import Transaction
from service.store.work import Commit, Done, Work, by_run, fail_all

log = logging.getLogger(__name__)

Undo: TypeAlias = list[Callable[[], None]]

_MAX_BATCH = 64
# After a commit for more than a few the next one waits a moment, so that callers get their turn to
# ask: half as many commits for the same work cost less than the moment. A caller who comes alone
# waits only where a few came just before.
_A_FEW = 2
_GATHER_SECONDS = 0.0003
_MAX_RUNS = 4


class Writer:
    """Commits whatever waits (64 works at most) as one transaction: one fsync serves many callers.

    A work that fails is its own caller's error alone; where it may have spoiled the transaction,
    that is undone and each work is run again by itself. What waits for a lock of another process
    is set apart, for some seconds; then it is Busy.
    """

    def __init__(
        self,
        engine: sa.Engine,
        readers: Readers,
        durability: Durability,
        publish: Callable[[Sequence[Topic]], None],
        notify: PostgresNotify | None,
    ) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._readers = readers
        self._durability = durability
        self._publish = publish
        self._notify = notify
        self._queue: SimpleQueue[Work[Any, Any] | None] = SimpleQueue()
        self._waits = LockWaits()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def add(self, work: Work[Any, Any]) -> None:
        self._queue.put(work)

    def close(self) -> None:
        """Finish all that was added."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_crowded = False
        while (batch := self._next_batch(_GATHER_SECONDS if is_crowded else 0.0)) is not None:
            is_crowded = len(batch) > _A_FEW
            self._commit(self._without_lock_waits(batch))
            for works in self._waits.take_due():
                self._try_again(works)
        for works in self._waits.take_all():
            fail_all(works, Unavailable("the service is stopping"))

    def _next_batch(self, gather_seconds: float) -> list[Work[Any, Any]] | None:
        """Wait for one work, and that long for more, then take what is there; an empty list when
        it is time to try for a lock again, and None when the writer closes."""
        batch: list[Work[Any, Any]] = []
        try:
            work = self._queue.get(timeout=self._waits.pause())
            if gather_seconds:
                time.sleep(gather_seconds)
            while work is not None:
                if work.future.set_running_or_notify_cancel():
                    batch.append(work)
                if len(batch) == _MAX_BATCH:
                    return batch
                work = self._queue.get(block=not batch, timeout=self._waits.pause())
        except Empty:
            return batch
        if batch:
            self._queue.put(None)  # close after this batch
        return batch or None

    def _without_lock_waits(self, batch: list[Work[Any, Any]]) -> list[Work[Any, Any]]:
        """Set those apart that need a lock which others wait for already."""
        if not self._waits:
            return batch
        works = []
        for work in batch:
            if self._waits.has_lock_of(work):
                self._set_apart(work)
            else:
                works.append(work)
        return works

    def _set_apart(self, work: Work[Any, Any]) -> None:
        if not self._waits.add(work):
            fail_all([work], Busy())

    def _try_again(self, works: list[Work[Any, Any]]) -> None:
        """Try the first of those that wait for one lock; where it is free, run the others."""
        self._commit(works[:1], is_brief=True)
        for start in range(1, len(works), _MAX_BATCH):
            self._commit(self._without_lock_waits(works[start : start + _MAX_BATCH]))

    def _commit(self, batch: list[Work[Any, Any]], run: int = 1, *, is_brief: bool = False) -> None:
        """Run `batch` in one transaction; where one work spoils it, in one each. A brief one gives
        way at once to whoever holds a lock."""
        if not batch:
            return
        try:
            with self._durability.committing(), _undoing() as undo:
                works = self._transact(batch, is_brief or bool(self._waits), undo)
        except _CommitUnknown as error:
            fail_all(batch, error)
        except Exception as error:  # noqa: BLE001 - undone: nobody's work happened
            self._recover(batch, error, run)
        else:
            self._acknowledge(works)

    def _recover(self, batch: list[Work[Any, Any]], error: Exception, run: int) -> None:
        """Run again what was undone, where it may well succeed; else answer with the error."""
        if is_lost(error):
            self._readers.renew()  # the database may be on another server by now
        if is_lost(error) and run == 1:
            self._commit(batch, run + 1)
        elif self._is_away(error):
            fail_all(batch, error)
        elif len(batch) > 1:
            for work in batch:
                self._commit(self._without_lock_waits([work]), is_brief=True)
        elif sqlstate(error) in _LOCKED:
            self._set_apart(batch[0])
        elif run < _MAX_RUNS and self._is_conflict(error):
            self._commit(batch, run + 1)
        else:
            fail_all(batch, error)

    def _acknowledge(self, works: list[Done]) -> None:
        """Answer each work once it is durable; one that needs none is answered now."""
        for result in works:
            if isinstance(result.answer, Busy):
                self._set_apart(result.work)
        replicated, local = (
            self._commit_of([result for result in works if result.work.replicated is kind])
            for kind in (True, False)
        )
        if replicated.works:
            self._durability.acknowledge(replicated)
        if local.works:
            local.publish()
            local.answer()

    def _commit_of(self, works: list[Done]) -> Commit:
        topics = [topic for result in works for topic in result.topics]
        answered = [result for result in works if not isinstance(result.answer, Busy)]
        return Commit(answered, topics, self._publish)

    def _transact(self, batch: list[Work[Any, Any]], is_brief: bool, undo: Undo) -> list[Done]:
        """Raise _CommitUnknown where the commit itself failed and may have happened."""
        with self._engine.connect() as connection:
            if is_brief and not self._is_sqlite:
                connection.execute(_BRIEF)
            last: list[Callable[[], None]] = []
            works = [
                result
                for group in by_run(batch)
                for result in self._run_group(Transaction(connection, undo=undo), group, last)
            ]
            for act in last:
                act()
            if self._notify is not None:
                topics = [topic for result in works for topic in result.topics]
                self._notify.notify_others(connection, topics)
            try:
                connection.commit()
            except DBAPIError as error:
                self._durability.commit_failed()
                if self._is_sqlite:
                    raise
                log.warning("database connection was lost in a commit", extra={"error": error.orig})
                detail = "the database connection was lost in the commit; its outcome is unknown"
                raise _CommitUnknown(detail) from error
            return works

    def _run_group(
        self,
        transaction: Transaction,
        group: list[Work[Any, Any]],
        last: list[Callable[[], None]],
    ) -> list[Done]:
        """Run works of one kind; they are answered once the transaction is committed.

        Raises what would spoil the transaction: an error of the database, or any after a write.
        """
        try:
            answers = group[0].run(transaction, [work.item for work in group])
        except Exception as error:
            if transaction.wrote or isinstance(error, DBAPIError):
                raise
            return [Done(work, error) for work in group]
        last += transaction.before_commit
        works = [Done(work, answer) for work, answer in zip(group, answers, strict=True)]
        # The list itself: what runs before the commit adds to it.
        return [replace(works[0], topics=transaction.topics), *works[1:]]

    def _is_away(self, error: Exception) -> bool:
        """Tell whether no server that takes writes was found: then no work is to blame, and none
        of them has to find that out for itself."""
        if self._is_sqlite or not isinstance(error, DBAPIError):
            return False
        return error.statement is None or sqlstate(error) == READ_ONLY  # None: not even connected

    def _is_conflict(self, error: Exception) -> bool:
        """Tell whether another process was in the way, or the connection had gone stale: the work
        was undone, and may well succeed now."""
        return not self._is_sqlite and (isinstance(error, IntegrityError) or is_lost(error))


@contextmanager
def _undoing() -> Iterator[Undo]:
    """Undo what works changed beside the database where they were not committed."""
    undo: Undo = []
    try:
        yield undo
    except BaseException:
        for act in undo:
            act()
        raise


_BRIEF = sa.text("SET LOCAL lock_timeout = '20ms'")
# lock_not_available, deadlock_detected, serialization_failure.
_LOCKED = frozenset({"55P03", "40P01", "40001"})


class _CommitUnknown(Unavailable):
    """The answer to a commit was lost."""
