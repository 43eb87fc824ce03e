"""Work that waits for a lock of another process, set apart so that nobody else waits with it."""

import time
from collections.abc import Callable, Hashable
from typing import Any

from service.store.work import Work

_RETRY_SECONDS = 0.05
_MAX_WAIT_SECONDS = 5.0
# A try holds up all other work for the moment that it waits for its lock.
_MAX_LOCKS_A_TRY = 4


class LockWaits:
    """Works by the lock that they wait for; one that names none waits by itself.

    One work of each lock is tried now and then, a few locks at a time: where the lock is free for
    it, it is free for all of them. Used by one thread.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._works: dict[Hashable, list[Work[Any, Any]]] = {}
        self._due_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._works)

    def has_lock_of(self, work: Work[Any, Any]) -> bool:
        """Tell whether others wait already for the lock that this work needs."""
        return work.lock is not None and work.lock in self._works

    def add(self, work: Work[Any, Any]) -> bool:
        """Keep a work for a later try; return False once it has waited for long enough."""
        is_retry, now = work.wait_until is not None, self._now()
        if is_retry or not self._works:
            self._due_at = now + _RETRY_SECONDS
        if work.wait_until is None:
            work.wait_until = now + _MAX_WAIT_SECONDS
        elif now >= work.wait_until:
            return False
        self._works.setdefault(work.lock or id(work), []).append(work)
        return True

    def pause(self) -> float | None:
        """Seconds until the next try; None while nothing waits."""
        return max(0.0, self._due_at - self._now()) if self._works else None

    def take_due(self) -> list[list[Work[Any, Any]]]:
        """Take the works of the few locks that were tried longest ago, when it is time to."""
        if not self._works or self._now() < self._due_at:
            return []
        return [self._works.pop(lock) for lock in list(self._works)[:_MAX_LOCKS_A_TRY]]

    def take_all(self) -> list[list[Work[Any, Any]]]:
        works = list(self._works.values())
        self._works.clear()
        return works
