"""How many requests are held until their job is final."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.domain.ids import KeyId


class WaitSlots:
    """A held request takes one of the places that a host has for requests: `most` may be held, and
    half of them for one key, so that workers, submits and other keys are always heard."""

    def __init__(self, most: int) -> None:
        self._max = most
        self._held: Counter[KeyId] = Counter()

    @contextmanager
    def hold(self, key_id: KeyId) -> Iterator[bool]:
        """Whether this request may be held; one that may not is answered at once."""
        room = self._held.total() < self._max and 2 * self._held[key_id] < self._max
        if not room:
            yield False
            return
        self._held[key_id] += 1
        try:
            yield True
        finally:
            self._held[key_id] -= 1
            if not self._held[key_id]:
                del self._held[key_id]
