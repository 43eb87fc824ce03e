"""How many costly requests of one key are served at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from service.domain.errors import RateLimited
from service.domain.ids import KeyId


class KeySlots:
    """Of each key `max_at_once` are served, and more wait for their turn, so that one key with many
    requests holds up its own alone."""

    def __init__(self, what: str, max_at_once: int, max_seconds: float) -> None:
        self._what = what
        self._max_at_once = max_at_once
        self._max_seconds = max_seconds  # for its turn to come
        self._turns: WeakValueDictionary[KeyId, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, key_id: KeyId) -> AsyncIterator[None]:
        """One of the key's places. Raises RateLimited where none becomes free in time."""
        turn = self._turns.setdefault(key_id, asyncio.Semaphore(self._max_at_once))
        try:
            async with asyncio.timeout(self._max_seconds):
                await turn.acquire()
        except TimeoutError:
            detail = f"{self._max_at_once} {self._what} of your key are being answered already"
            raise RateLimited(detail, retry_after_seconds=5) from None
        try:
            yield
        finally:
            turn.release()
