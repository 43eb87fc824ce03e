"""Answers that wait: a commit is told only once it is offsite as well."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from service.domain.errors import Unavailable
from service.log import Log

log = Log(__name__)

_TRY_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class PendingCommit:
    """A commit that waits. It is told and answered when it is offsite. When it could not be put
    there its callers hear that at once, and it is told when it is there after all."""

    tell: Callable[[], None]
    answer: Callable[[], None]
    fail: Callable[[Exception], None]


class Shipper:
    """A thread that calls `ship` for whatever waits: one shipment serves all that wait for it.

    `ship` promises for all that was committed before the call, and raises Unavailable. It is called
    again, though nobody waits, while it fails, and once more at the end.
    """

    def __init__(self, ship: Callable[[], None]) -> None:
        self._ship = ship
        self._queue: SimpleQueue[PendingCommit | None] = SimpleQueue()
        self._behind = False
        self._untold: list[PendingCommit] = []
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hold(self, held: PendingCommit) -> None:
        self._queue.put(held)

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going_on = True
        while going_on:
            waiting, going_on = self._next()
            self._serve(waiting)

    def _next(self) -> tuple[list[PendingCommit], bool]:
        """All that wait, and whether there is more to come."""
        waiting: list[PendingCommit] = []
        try:
            held = self._queue.get(timeout=_TRY_AGAIN_SECONDS if self._behind else None)
            while held is not None:
                waiting.append(held)
                held = self._queue.get(block=False)
        except Empty:
            return waiting, True
        return waiting, False

    def _serve(self, waiting: list[PendingCommit]) -> None:
        try:
            self._ship()
        except Unavailable as error:
            log.warning("database is not offsite", error=error, waiting=len(waiting))
            self._behind = True
            self._untold += waiting
            for held in waiting:
                held.fail(error)
        else:
            self._behind = False
            for held in (*self._untold, *waiting):
                held.tell()
            self._untold.clear()
            for held in waiting:
                held.answer()
