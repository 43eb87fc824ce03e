"""Notify waiters of a topic after a change to it is committed."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from service.domain.topics import Topic

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Tap:
    matches: Callable[[Topic], bool]
    receive: Callable[[Sequence[Topic]], None]


class Notifier:
    """Topics are those of domain/topics.py. Listen before reading, or changes are missed."""

    def __init__(self) -> None:
        self._listeners: defaultdict[Topic, set[asyncio.Event]] = defaultdict(set)
        self._taps: list[_Tap] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run `work` on the event loop of the routes and wait for it, in another thread. Raises
        TimeoutError."""
        assert self._loop is not None, "attached before anything is served"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def notify(self, topics: Sequence[Topic]) -> None:
        """Wake the listeners of these topics, from any thread."""
        topics = [topic for topic in topics if self._matches(topic)]
        if topics and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, topics)

    @contextmanager
    def listen(self, *topics: Topic) -> Iterator[asyncio.Event]:
        """Yield an event that every notification of `topics` sets; clear it before each read."""
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

    @contextmanager
    def tap(
        self, matches: Callable[[Topic], bool], receive: Callable[[Sequence[Topic]], None]
    ) -> Iterator[None]:
        """Call `receive` with the topics of each notification that has one that `matches`, which is
        called from any thread; and when the service stops."""
        tap = _Tap(matches, receive)
        self._taps.append(tap)
        try:
            yield
        finally:
            self._taps.remove(tap)

    def wake_all(self) -> None:
        """Wake all listeners, from any thread."""
        self.notify(list(self._listeners))

    def close(self) -> None:
        """Wake all listeners for good: the service stops."""
        self.closed = True
        self._wake(list(self._listeners))

    def _wake(self, topics: Sequence[Topic]) -> None:
        for topic in topics:
            for event in self._listeners.get(topic, ()):
                event.set()
        for tap in list(self._taps):
            tap.receive(topics)

    def _matches(self, topic: Topic) -> bool:
        return topic in self._listeners or any(tap.matches(topic) for tap in self._taps)


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event; return False after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
