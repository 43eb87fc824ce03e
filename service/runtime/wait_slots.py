"""Limit the requests that stay open: waits until a job is final, and event streams."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.domain.ids import KeyId


class WaitSlots:
    """At most `max_at_once` requests of a kind wait, and half of them for one key, so that the host
    always has connections for workers, submits and other keys."""

    def __init__(self, max_at_once: int) -> None:
        self._max = max_at_once
        self._num_held: Counter[KeyId] = Counter()

    @contextmanager
    def hold(self, key_id: KeyId) -> Iterator[bool]:
        """Yield True if this request may wait, False if not."""
        has_room = self._num_held.total() < self._max and 2 * self._num_held[key_id] < self._max
        if not has_room:
            yield False
            return
        self._num_held[key_id] += 1
        try:
            yield True
        finally:
            self._num_held[key_id] -= 1
            if not self._num_held[key_id]:
                del self._num_held[key_id]
