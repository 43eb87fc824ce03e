"""The ticks that run beside the API, on a thread of their own."""

import logging
from threading import Event, Thread

from service.domain.ports import Clock
from service.lifecycle.rescue import Rescuer

log = logging.getLogger(__name__)


class Ticker:
    """Runs the rescuer every `seconds`, but not before a `grace`: while the service was away no
    worker could be heard, and to call them all dead would generate every running job twice."""

    def __init__(self, rescuer: Rescuer, clock: Clock, *, seconds: float, grace: float) -> None:
        self._rescuer = rescuer
        self._clock = clock
        self._seconds = seconds
        self._grace = grace
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
            wait = self._seconds
            try:
                self._rescuer.tick(self._clock())
            except Exception:
                log.exception("a tick failed; the next one tries again")
