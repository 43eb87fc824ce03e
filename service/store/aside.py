"""Work that waits for a lock of somebody else, set aside so that nobody else waits with it."""

import time
from collections.abc import Callable, Hashable
from typing import Any

from service.store.work import Work

_AGAIN_SECONDS = 0.05
_PATIENCE_SECONDS = 5.0
# A try holds up all others for the moment that it waits for its lock.
_MAX_LANES = 4


class LockWaits:
    """What waits, by lane; work that has none is alone. One of each lane is tried now and then, a
    few lanes in their turn: where the lock is free for it, it is free for all of them. Used by one
    thread."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lanes: dict[Hashable, list[Work[Any, Any]]] = {}
        self._due_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def holds(self, work: Work[Any, Any]) -> bool:
        """Whether others wait already for the lock that this needs."""
        return work.lane is not None and work.lane in self._lanes

    def put(self, work: Work[Any, Any]) -> bool:
        """Keep it for later; not where it has waited for long enough."""
        tried_again, now = work.until is not None, self._now()
        if tried_again or not self._lanes:
            self._due_at = now + _AGAIN_SECONDS
        if work.until is None:
            work.until = now + _PATIENCE_SECONDS
        elif now >= work.until:
            return False
        self._lanes.setdefault(work.lane or id(work), []).append(work)
        return True

    def pause(self) -> float | None:
        """For how many seconds there is nothing to try; None while nothing waits."""
        return max(0.0, self._due_at - self._now()) if self._lanes else None

    def take_due(self) -> list[list[Work[Any, Any]]]:
        """What waits in the few lanes that were tried longest ago, if it is time to try again."""
        if not self._lanes or self._now() < self._due_at:
            return []
        return [self._lanes.pop(lane) for lane in list(self._lanes)[:_MAX_LANES]]

    def take_all(self) -> list[list[Work[Any, Any]]]:
        taken = list(self._lanes.values())
        self._lanes.clear()
        return taken
