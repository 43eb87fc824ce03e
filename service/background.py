"""The ticks that run beside the API, on a thread of their own."""

import logging
import time
from threading import Event, Thread

from service.domain.ports import Clock
from service.lifecycle.rescue import Rescuer

log = logging.getLogger(__name__)


class Ticker:
    """Runs the rescuer every `seconds`, but not before a `grace`: while the service was away no
    worker could be heard, and to call them all dead would generate every running job twice. The
    same after a jump of the clock, say when a laptop's lid was closed."""

    def __init__(self, rescuer: Rescuer, clock: Clock, *, seconds: float, grace: float) -> None:
        self._rescuer = rescuer
        self._clock = clock
        self._seconds = seconds
        self._grace = grace
        self._offset = self._clock_offset()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="ticker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        wait = self._grace
        while not self._stop.wait(wait):
            wait = self._grace if self._clock_jumped() else self._tick()

    def _tick(self) -> float:
        """Seconds until the next one."""
        try:
            self._rescuer.tick(self._clock())
        except Exception:
            log.exception("a tick failed; the next one tries again")
        return self._seconds

    def _clock_jumped(self) -> bool:
        """Whether the clock and the time that really passed have come apart since the last look."""
        before, self._offset = self._offset, self._clock_offset()
        return abs(self._offset - before) > self._grace / 2

    def _clock_offset(self) -> float:
        return self._clock().timestamp() - time.monotonic()
