"""Keeps the service's time: a jump of the clock moves deadlines and deletes nothing."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from service.domain import ids
from service.domain.clock import TOLERANCE, ServiceClock, Timeline
from service.lifecycle.leader import Leadership
from service.store import timeline
from service.store.database import Database
from service.store.transaction import Transaction

log = logging.getLogger(__name__)

_WRITE_EVERY = timedelta(seconds=30)
# The leader may be away for this long without doubt that so much time has passed.
_MAX_GAP = timedelta(minutes=2)
_FRESH = timedelta(seconds=3)  # reads that are no further apart see when the row was written


def _do_nothing(_: Transaction) -> None:
    """Change nothing beside the row."""


@dataclass
class Timekeeper:
    """Keeps the time of one process. The leader's clock is the service's, and the others follow it
    by the row that it writes. On SQLite there is one process, and no election."""

    db: Database
    clock: ServiceClock
    leadership: Leadership | None = None
    _row: Timeline | None = field(default=None, init=False)  # as last read or written
    _read_at: datetime | None = field(default=None, init=False)
    _leads: bool = field(default=False, init=False)

    def begin(self) -> None:
        """Bring the deadlines and this process's clock to one time before it writes any, since a
        take-over moves all deadlines."""
        self.is_leading()
        row = self.db.read(timeline.read)
        if not self._leads and row is not None and not _is_continuous(row, self.clock()):
            log.warning("clock follows another process", extra={"seen_at": row.seen_at.isoformat()})
            self.clock.move(row.seen_at - self.clock())

    def is_leading(self) -> bool:
        """Tell whether this process runs the ticks. False just after the time was moved, when
        deadlines are not reliable."""
        if self.leadership is not None:
            self._read()
            if not self.leadership.is_leader(self.clock()):
                self._leads = False
                return False
        if not self._leads:
            self._leads = self._take_over()
            return False
        jump = self.clock.error()
        return self._jump(jump) if abs(jump) > TOLERANCE else self._go_on(jump)

    def certain_time(self, now: datetime) -> datetime:
        """Return the time that has passed for certain, by which things are deleted."""
        return now if self._row is None else self._row.certain_time(now)

    def _read(self) -> None:
        """Read the row and the newest ids of other processes, and keep new ids above those."""
        row, newest = self.db.read(lambda tx: (timeline.read(tx), timeline.newest_ids(tx)))
        for id_ in newest:
            ids.stay_above(id_)
        if not self._leads:
            if abs(self.clock.error()) <= TOLERANCE:
                self.clock.move(self.clock.error())
            self._follow(row)

    def _follow(self, row: Timeline | None) -> None:
        """Follow a row that was written a moment ago: it tells the leader's time."""
        before, self._read_at = self._read_at, self.clock.passed()
        is_fresh = before is not None and self._read_at - before < _FRESH
        if row is not None and self._row is not None and row != self._row and is_fresh:
            error = row.seen_at - self.clock()
            if abs(error) > TOLERANCE:
                log.warning(
                    "clock follows another process", extra={"by_seconds": error.total_seconds()}
                )
                self.clock.move(error)
        self._row = row

    def _take_over(self) -> bool:
        """Become the leader. The time since the row was written may be downtime or a set clock, so
        it is in doubt, and nothing is deleted by it."""
        self._follow(self.db.read(timeline.read))
        now = self.clock()
        if self._row is None:
            return self._write(Timeline(now))
        if _is_continuous(self._row, now):
            return self._write(self._row.advance(now))
        away = now - self._row.seen_at
        log.info(
            "service was down, or its clock was set", extra={"seconds": round(away.total_seconds())}
        )
        return self._write(self._row.after_jump(away, now), lambda tx: _compensate(tx, away, now))

    def _go_on(self, correction: timedelta) -> bool:
        self.clock.move(correction)
        assert self._row is not None, "the leader has written it"
        if self.clock() - self._row.seen_at < _WRITE_EVERY:
            return True
        return self._write(self._row.advance(self.clock()), replicated=False)

    def _jump(self, jump: timedelta) -> bool:
        """Change the clock within the transaction that moves the deadlines: the writer runs nothing
        else meanwhile, so that every transaction sees both before or both after."""
        assert self._row is not None, "the leader has written it"
        before, ahead = self.clock(), self.clock.ahead

        def move(tx: Transaction) -> None:
            timeline.move_all(tx, jump, before)
            tx.undo.append(partial(setattr, self.clock, "ahead", ahead))
            self.clock.ahead = ahead + jump

        has_moved = self._write(self._row.after_jump(jump, before + jump), move)
        if has_moved:
            log.warning(
                "clock was set; deadlines move with it", extra={"by_seconds": jump.total_seconds()}
            )
        return False

    def _write(
        self,
        new: Timeline,
        extra: Callable[[Transaction], None] = _do_nothing,
        *,
        replicated: bool = True,
    ) -> bool:
        """Write the row with an optimistic lock; False, and leadership is lost, if another did."""
        current = self._row

        def write(tx: Transaction) -> bool:
            is_written = timeline.replace(tx, current, new)
            if is_written:
                extra(tx)
            return is_written

        self._leads = self.db.write(write, replicated=replicated).result()
        if self._leads:
            self._row = new
        return self._leads


def _is_continuous(row: Timeline, now: datetime) -> bool:
    """Tell whether `now` can be the time of the process that wrote the row last."""
    return -TOLERANCE <= now - row.seen_at <= _MAX_GAP


def _compensate(tx: Transaction, away: timedelta, now: datetime) -> None:
    """Extend run deadlines by downtime; if the clock was set back, move all deadlines with it."""
    if away < timedelta(0):
        timeline.move_all(tx, away, now - away)
    else:
        timeline.move_run_deadlines(tx, away)
