"""Keeps the service's time: deadlines move with the clock, and nothing is deleted by its jumps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from service.domain import ids
from service.domain.clock import TOLERANCE, ServiceClock, Timeline
from service.lifecycle.leader import Leadership
from service.log import Log
from service.store import timeline
from service.store.database import Database
from service.store.transaction import Transaction

log = Log(__name__)

_NOTE_EVERY = timedelta(seconds=30)
# The process that leads may be away for this long without a doubt that so much time has passed.
_AWAY = timedelta(minutes=2)
_FRESH = timedelta(seconds=3)  # two looks that are no further apart see when the row was written


def _no_more(_: Transaction) -> None:
    """Nothing beside the row."""


@dataclass
class Timekeeper:
    """Of several processes one leads, whose turn it is: its clock is the service's, and the others
    follow it by the row that it writes. Without turns, as on SQLite, there is one."""

    db: Database
    clock: ServiceClock
    turn: Leadership | None = None
    _known: Timeline | None = field(default=None, init=False)  # as last read or written
    _looked_at: datetime | None = field(default=None, init=False)
    _leads: bool = field(default=False, init=False)

    def begin(self) -> None:
        """Bring the deadlines and this process's clock to one time, before anything new is written
        by it: a take-over moves whatever it finds."""
        self.leads()
        row = self.db.read(timeline.read)
        if not self._leads and row is not None and not _went_on(row, self.clock()):
            log.warning("clock follows another process", seen_at=row.seen_at.isoformat())
            self.clock.move(row.seen_at - self.clock())

    def leads(self) -> bool:
        """Whether this process does the ticks, and may: where the time was moved just now, no
        deadline can be judged yet."""
        if self.turn is not None:
            self._look()
            if not self.turn.is_leader(self.clock()):
                self._leads = False
                return False
        if not self._leads:
            self._leads = self._take_over()
            return False
        jump = self.clock.error()
        return self._jump(jump) if abs(jump) > TOLERANCE else self._go_on(jump)

    def certain(self, now: datetime) -> datetime:
        """The time by which things are deleted for good."""
        return now if self._known is None else self._known.certain(now)

    def _look(self) -> None:
        """See what others have written, and made: ids go on above theirs."""
        row, newest = self.db.read(lambda tx: (timeline.read(tx), timeline.newest_ids(tx)))
        for id_ in newest:
            ids.stay_above(id_)
        if not self._leads:
            if abs(self.clock.error()) <= TOLERANCE:
                self.clock.move(self.clock.error())
            self._follow(row)

    def _follow(self, row: Timeline | None) -> None:
        """A row that was not there a moment ago tells the time of the process that leads."""
        before, self._looked_at = self._looked_at, self.clock.passed()
        written_now = before is not None and self._looked_at - before < _FRESH
        if row is not None and self._known is not None and row != self._known and written_now:
            behind = row.seen_at - self.clock()
            if abs(behind) > TOLERANCE:
                log.warning("clock follows another process", by_seconds=behind.total_seconds())
                self.clock.move(behind)
        self._known = row

    def _take_over(self) -> bool:
        """How long the service was away is told by the same clock; that it was set meanwhile cannot
        be seen, so that nothing is deleted for it."""
        self._follow(self.db.read(timeline.read))
        now = self.clock()
        if self._known is None:
            return self._write(Timeline(now))
        if _went_on(self._known, now):
            return self._write(self._known.seen(now))
        away = now - self._known.seen_at
        log.info("service was away, or its clock was set", seconds=round(away.total_seconds()))
        return self._write(self._known.jumped(away, now), lambda tx: _make_up(tx, away, now))

    def _go_on(self, correction: timedelta) -> bool:
        self.clock.move(correction)
        assert self._known is not None, "whoever leads has written it"
        if self.clock() - self._known.seen_at < _NOTE_EVERY:
            return True
        return self._write(self._known.seen(self.clock()), replicated=False)

    def _jump(self, jump: timedelta) -> bool:
        """The clock changes within the transaction that moves the deadlines: while that runs no
        other change does, and each sees either both as they were or both as they are now."""
        assert self._known is not None, "whoever leads has written it"
        before, ahead = self.clock(), self.clock.ahead

        def move(tx: Transaction) -> None:
            timeline.move_all(tx, jump, before)
            tx.undo.append(partial(setattr, self.clock, "ahead", ahead))
            self.clock.ahead = ahead + jump

        moved = self._write(self._known.jumped(jump, before + jump), move)
        if moved:
            log.warning("clock was set; deadlines move with it", by_seconds=jump.total_seconds())
        return False

    def _write(
        self,
        new: Timeline,
        act: Callable[[Transaction], None] = _no_more,
        *,
        replicated: bool = True,
    ) -> bool:
        """False where another process was first, which is followed then."""
        known = self._known

        def write(tx: Transaction) -> bool:
            written = timeline.replace(tx, known, new)
            if written:
                act(tx)
            return written

        self._leads = self.db.write(write, replicated=replicated).result()
        if self._leads:
            self._known = new
        return self._leads


def _went_on(row: Timeline, now: datetime) -> bool:
    """Whether `now` may well be the time of the process that wrote the row last."""
    return -TOLERANCE <= now - row.seen_at <= _AWAY


def _make_up(tx: Transaction, away: timedelta, now: datetime) -> None:
    """For time in which no worker was heard; set back, the clock takes all deadlines with it."""
    if away < timedelta(0):
        timeline.move_all(tx, away, now - away)
    else:
        timeline.move_run_deadlines(tx, away)
