"""Delay acknowledgements until the commit has been replicated."""

import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from service.domain.errors import Unavailable
from service.store.work import Commit

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


class Shipper:
    """A thread that calls `ship` for whatever waits: one shipment serves all that wait for it.

    `ship` covers all that was committed before the call, or raises Unavailable. Then callers hear
    that at once, and their topics are published when it succeeds after all: it is called again,
    though nobody waits, while it fails, and once more at the end.
    """

    def __init__(self, ship: Callable[[], None]) -> None:
        self._ship = ship
        self._queue: SimpleQueue[Commit | None] = SimpleQueue()
        self._is_behind = False
        self._unpublished: list[Commit] = []
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, commit: Commit) -> None:
        self._queue.put(commit)

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            commits, is_open = self._next()
            self._serve(commits)

    def _next(self) -> tuple[list[Commit], bool]:
        """Take all that wait; False once the shipper is closed."""
        commits: list[Commit] = []
        try:
            commit = self._queue.get(timeout=_RETRY_SECONDS if self._is_behind else None)
            while commit is not None:
                commits.append(commit)
                commit = self._queue.get(block=False)
        except Empty:
            return commits, True
        return commits, False

    def _serve(self, commits: list[Commit]) -> None:
        try:
            self._ship()
        except Unavailable as error:
            log.warning("database is not offsite", extra={"error": error, "waiting": len(commits)})
            self._is_behind = True
            self._unpublished += commits
            for commit in commits:
                commit.fail(error)
        else:
            self._is_behind = False
            for commit in (*self._unpublished, *commits):
                commit.publish()
            self._unpublished.clear()
            for commit in commits:
                commit.answer()
