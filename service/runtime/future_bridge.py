"""Pass results of the writer thread to the event loop, with one wake-up per batch."""

import asyncio
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class FutureBridge:
    """Like `asyncio.wrap_future`, for a thread that resolves many futures at once."""

    def __init__(self) -> None:
        self._finished: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._is_scheduled = False

    async def wait(self, future: Future[T]) -> T:
        """Return the result or raise the exception. Cancelling cancels work that has not begun."""
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        future.add_done_callback(partial(self._on_done, waiter))
        try:
            return await waiter
        except asyncio.CancelledError:
            future.cancel()
            raise

    def _on_done(self, waiter: asyncio.Future[Any], future: Future[Any]) -> None:
        """Queue a finished future, from any thread, and schedule one delivery for the batch."""
        self._finished.append((waiter, future))
        if not self._is_scheduled:
            self._is_scheduled = True
            loop = waiter.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_scheduled = False  # first: later futures schedule a delivery of their own
        while self._finished:
            waiter, future = self._finished.popleft()
            if waiter.done():
                continue  # cancelled
            if future.cancelled():
                waiter.cancel()
            elif (error := future.exception()) is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(future.result())
