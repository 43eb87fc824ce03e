"""Limit the concurrent expensive requests of each key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from service.domain.errors import RateLimited
from service.domain.ids import KeyId


class KeySlots:
    """A semaphore per key: a key with many requests delays only its own."""

    def __init__(self, noun: str, max_at_once: int, max_seconds: float) -> None:
        self._noun = noun
        self._max_at_once = max_at_once
        self._max_seconds = max_seconds  # to wait for a slot
        self._semaphores: WeakValueDictionary[KeyId, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, key_id: KeyId) -> AsyncIterator[None]:
        """Hold one of the key's slots. Raises RateLimited where none becomes free in time."""
        semaphore = self._semaphores.setdefault(key_id, asyncio.Semaphore(self._max_at_once))
        try:
            async with asyncio.timeout(self._max_seconds):
                await semaphore.acquire()
        except TimeoutError:
            detail = f"your key has {self._max_at_once} concurrent {self._noun} already"
            raise RateLimited(detail, retry_after_seconds=5) from None
        try:
            yield
        finally:
            semaphore.release()
