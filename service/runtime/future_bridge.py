"""Answers of the writer's thread come to the event loop: one wake-up for all that come at once."""

import asyncio
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class FutureBridge:
    """What `asyncio.wrap_future` does, for a thread that answers many callers in one go."""

    def __init__(self) -> None:
        self._arrived: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._called = False

    async def wait(self, future: Future[T]) -> T:
        """Its result, or its exception. Whoever stops to wait cancels what has not begun."""
        waiting: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        future.add_done_callback(partial(self._land, waiting))
        try:
            return await waiting
        except asyncio.CancelledError:
            future.cancel()
            raise

    def _land(self, waiting: asyncio.Future[Any], done: Future[Any]) -> None:
        """From any thread. What comes before the loop looks is found by that look."""
        self._arrived.append((waiting, done))
        if not self._called:
            self._called = True
            loop = waiting.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._called = False  # first: whoever comes from here on calls again
        while self._arrived:
            waiting, done = self._arrived.popleft()
            if waiting.done():
                continue  # nobody waits any more
            if done.cancelled():
                waiting.cancel()
            elif (fault := done.exception()) is not None:
                waiting.set_exception(fault)
            else:
                waiting.set_result(done.result())
