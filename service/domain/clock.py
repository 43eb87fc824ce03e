"""The service's time: it runs evenly, even when the machine's clock is set."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

# Smaller differences are corrections of a time server, and are followed; leases and deadlines are
# longer. Larger ones are jumps.
TOLERANCE = timedelta(seconds=10)
# How long the service must run after a jump, or after time that may not have passed, before it
# deletes what was not due until then.
PATIENCE = timedelta(hours=6)


class Clock(Protocol):
    """Returns the present time; tests pass one that they can move."""

    def __call__(self) -> datetime: ...


def utc_now() -> datetime:
    return datetime.now(UTC)


class ServiceClock:
    """The machine's clock when this was created, plus the monotonic time since.

    It ignores jumps of the machine's clock until it is moved, together with the deadlines in the
    database (service/lifecycle/timekeeper.py).
    """

    def __init__(self, wall: Clock = utc_now, steady: Callable[[], float] = time.monotonic) -> None:
        self.wall = wall
        self.ahead = timedelta(0)  # the sum of its moves
        self._steady = steady
        self._start = wall() - timedelta(seconds=steady())

    def __call__(self) -> datetime:
        return self.passed() + self.ahead

    def passed(self) -> datetime:
        """Return the time without moves, to measure durations in memory."""
        return self._start + timedelta(seconds=self._steady())

    def move(self, by: timedelta) -> None:
        self.ahead += by

    def error(self) -> timedelta:
        """Return by how much the machine's clock is ahead of this one."""
        return self.wall() - self()


@dataclass(frozen=True)
class ClockUncertainty:
    """Time that may not have passed; from `until` on it counts as passed."""

    amount: timedelta
    until: datetime


@dataclass(frozen=True)
class Timeline:
    """The service's time in the database: when it was last written, and its doubts, oldest first.

    There are two doubts at most. A third is added to the second, whose wait begins again; the first
    stays as it is, so that a machine that is off each night gets rid of its doubts.
    """

    seen_at: datetime
    doubts: tuple[ClockUncertainty, ...] = ()

    def advance(self, now: datetime) -> "Timeline":
        """Return the timeline after the service has run until `now`."""
        return Timeline(now, tuple(doubt for doubt in self.doubts if now < doubt.until))

    def after_jump(self, by: timedelta, now: datetime) -> "Timeline":
        """Return the timeline after the clock jumped `by` that much, to `now`."""
        earlier = [
            ClockUncertainty(doubt.amount, doubt.until + by)  # the run until then stays as long
            for doubt in self.advance(now - by).doubts
        ]
        if by < timedelta(0):
            return Timeline(now, _subtract(earlier, -by))
        amount = by + sum((doubt.amount for doubt in earlier[1:]), timedelta(0))
        return Timeline(now, (*earlier[:1], ClockUncertainty(amount, now + PATIENCE)))

    def certain_time(self, now: datetime) -> datetime:
        """Return the time that has passed for certain, by which things are deleted."""
        return now - sum((doubt.amount for doubt in self.advance(now).doubts), timedelta(0))


def _subtract(doubts: list[ClockUncertainty], back: timedelta) -> tuple[ClockUncertainty, ...]:
    """Subtract a jump back from the newest doubt first, which it most likely corrects."""
    remaining: list[ClockUncertainty] = []
    for doubt in reversed(doubts):
        correction = min(back, doubt.amount)
        back -= correction
        if doubt.amount > correction:
            remaining.insert(0, ClockUncertainty(doubt.amount - correction, doubt.until))
    return tuple(remaining)
