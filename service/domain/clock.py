"""The service's time: it runs on evenly, whatever is done to the machine's clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain.ports import Clock, utc_now

# Differences up to here are what a time server corrects, and are followed as they come; leases and
# deadlines are longer. What is more is a jump.
TOLERANCE = timedelta(seconds=10)
# After a jump, and after time of which nobody knows whether it has passed, what was not yet due is
# not deleted before the service has run for so long.
PATIENCE = timedelta(hours=6)


class ServiceClock:
    """Reads as the machine's clock did when it was made, plus the time that has passed since.

    A jump of the machine's clock is not in it until it is moved, which whoever also moves the
    deadlines in the database does (service/lifecycle/timekeeper.py).
    """

    def __init__(self, wall: Clock = utc_now, steady: Callable[[], float] = time.monotonic) -> None:
        self.wall = wall
        self.ahead = timedelta(0)  # by how much it was moved since it was made
        self._steady = steady
        self._start = wall() - timedelta(seconds=steady())

    def __call__(self) -> datetime:
        return self.passed() + self.ahead

    def passed(self) -> datetime:
        """The time as if it had never been moved: for durations that are kept in memory only."""
        return self._start + timedelta(seconds=self._steady())

    def move(self, by: timedelta) -> None:
        self.ahead += by

    def error(self) -> timedelta:
        """By how much the machine's clock is ahead of this one."""
        return self.wall() - self()


@dataclass(frozen=True)
class ClockUncertainty:
    """Time of which nobody can say whether it passed; it is believed to have from `until` on."""

    amount: timedelta
    until: datetime


@dataclass(frozen=True)
class Timeline:
    """The service's time as the database knows it: when it was last seen there, and what of it is
    in doubt, the oldest first.

    There are two doubts at most. A third joins the second, whose patience begins anew; the first is
    let alone, so that a machine that rests each night gets out of its doubts.
    """

    seen_at: datetime
    doubts: tuple[ClockUncertainty, ...] = ()

    def seen(self, now: datetime) -> "Timeline":
        """As it is when the service has run until `now`."""
        return Timeline(now, tuple(doubt for doubt in self.doubts if now < doubt.until))

    def jumped(self, by: timedelta, now: datetime) -> "Timeline":
        """The clock went on `by` that much, of which nobody knows whether it passed, to `now`."""
        earlier = [
            ClockUncertainty(doubt.amount, doubt.until + by)  # after as long a run as before
            for doubt in self.seen(now - by).doubts
        ]
        if by < timedelta(0):
            return Timeline(now, _less(earlier, -by))
        amount = by + sum((doubt.amount for doubt in earlier[1:]), timedelta(0))
        return Timeline(now, (*earlier[:1], ClockUncertainty(amount, now + PATIENCE)))

    def certain(self, now: datetime) -> datetime:
        """The time that has passed for certain: what is deleted for good goes by it."""
        return now - sum((doubt.amount for doubt in self.seen(now).doubts), timedelta(0))


def _less(doubts: list[ClockUncertainty], back: timedelta) -> tuple[ClockUncertainty, ...]:
    """Take a jump back from the newest doubt first: it is most likely what is put right."""
    kept: list[ClockUncertainty] = []
    for doubt in reversed(doubts):
        taken = min(back, doubt.amount)
        back -= taken
        if doubt.amount > taken:
            kept.insert(0, ClockUncertainty(doubt.amount - taken, doubt.until))
    return tuple(kept)
