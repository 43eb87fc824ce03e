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
# An absence or a jump up to here, while there is a doubt already, does not begin the patience anew:
# a machine that rests each night would never get out of it.
REST = timedelta(days=1)


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
class Timeline:
    """The service's time as the database knows it: when it was last seen there, and for how much
    of it, until when, nobody can say whether it passed."""

    seen_at: datetime
    doubt: timedelta = timedelta(0)
    doubt_until: datetime | None = None

    def seen(self, now: datetime) -> "Timeline":
        """As it is when the service has run until `now`."""
        over = self.doubt_until is None or now >= self.doubt_until
        return Timeline(now) if over else Timeline(now, self.doubt, self.doubt_until)

    def jumped(self, by: timedelta, now: datetime) -> "Timeline":
        """The clock went on `by` that much, of which nobody knows whether it passed, to `now`."""
        before = self.seen(now - by)
        doubt = max(timedelta(0), before.doubt + by)
        if before.doubt and before.doubt_until is not None and abs(by) <= REST:
            return Timeline(now, doubt, before.doubt_until + by)  # after as long a run as before
        return Timeline(now, doubt, now + PATIENCE)

    def certain(self, now: datetime) -> datetime:
        """The time that has passed for certain: what is deleted for good goes by it."""
        return now - self.seen(now).doubt
