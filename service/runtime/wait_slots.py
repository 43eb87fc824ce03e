"""Limit the requests that wait until their job is final."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.domain.ids import KeyId


class WaitSlots:
    """At most `max_waits` requests wait, and half of them for one key, so that the host always has
    connections for workers, submits and other keys."""

    def __init__(self, max_waits: int) -> None:
        self._max = max_waits
        self._num_held: Counter[KeyId] = Counter()

    @contextmanager
    def hold(self, key_id: KeyId) -> Iterator[bool]:
        """Yield True if this request may wait, False if it must be answered at once."""
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
