"""Wakes whoever waits for a topic once a change to it is committed."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Notifier:
    """Topics are job ids and `queue:<model>`. Listen first, then look, then wait: so nothing that
    happens in between is missed."""

    def __init__(self) -> None:
        self._listeners: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def notify(self, topics: Sequence[str]) -> None:
        """From any thread. Costs nothing where nobody listens."""
        heard = [topic for topic in topics if topic in self._listeners]
        if heard and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, heard)

    @contextmanager
    def listen(self, *topics: str) -> Iterator[asyncio.Event]:
        """An event that is set at every ring of one of `topics`; clear it before each look."""
        event = asyncio.Event()
        for topic in topics:
            self._listeners[topic].add(event)
        try:
            yield event
        finally:
            for topic in topics:
                self._listeners[topic].discard(event)
                if not self._listeners[topic]:
                    del self._listeners[topic]

    def wake_all(self) -> None:
        """From any thread: let everybody look again."""
        self.notify(list(self._listeners))

    def close(self) -> None:
        """Let everybody go: the service stops, and a wait must not hold it up."""
        self.closed = True
        self._wake(list(self._listeners))

    def _wake(self, topics: Sequence[str]) -> None:
        for topic in topics:
            for event in self._listeners.get(topic, ()):
                event.set()


async def heard(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event was set within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
