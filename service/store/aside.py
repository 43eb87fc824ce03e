"""Work that waits for a lock of somebody else, set aside so that nobody else waits with it."""

import time
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

_AGAIN_SECONDS = 0.05
_PATIENCE_SECONDS = 5.0


class Waiting(Protocol):
    """Work that may be set aside, until that moment. What has one `lane` needs one lock; what has
    none is alone."""

    lane: Hashable
    until: float | None


W = TypeVar("W", bound=Waiting)


class Aside(Generic[W]):
    """What waits, by lane. One of each lane is tried now and then: where the lock is free for it,
    it is free for all of them. Used by one thread."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lanes: dict[Hashable, list[W]] = {}
        self._due_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def holds(self, work: W) -> bool:
        """Whether others wait already for the lock that this needs."""
        return work.lane is not None and work.lane in self._lanes

    def put(self, work: W) -> bool:
        """Keep it for later; not where it has waited for long enough."""
        if work.until is None:
            work.until = self._now() + _PATIENCE_SECONDS
        elif self._now() >= work.until:
            return False
        if not self._lanes:
            self._due_at = self._now() + _AGAIN_SECONDS
        self._lanes.setdefault(work.lane or id(work), []).append(work)
        return True

    def pause(self) -> float | None:
        """For how many seconds there is nothing to try; None while nothing waits."""
        return max(0.0, self._due_at - self._now()) if self._lanes else None

    def take_due(self) -> list[list[W]]:
        """All that waits, lane by lane, if it is time to try it again."""
        return self.take_all() if self._lanes and self._now() >= self._due_at else []

    def take_all(self) -> list[list[W]]:
        taken = list(self._lanes.values())
        self._lanes.clear()
        return taken
