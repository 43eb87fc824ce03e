"""Periodic tasks beside the API, each on its own thread."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Event, Thread

from service.domain.clock import Clock
from service.domain.errors import Unavailable

log = logging.getLogger(__name__)

_REPEAT_SECONDS = 2.0

Tick = Callable[[datetime], object]


class Ticker:
    """Run the ticks every `seconds` after a `grace` period, in seconds.

    While the service was down no worker could report; without a grace all their leases would expire
    and every running job would be generated twice. The grace restarts after a database outage, a
    pause of the process, a jump of the clock, and when this process becomes the leader.

    `leads` tells whether this process is the leader: of several, only one runs the ticks.
    """

    def __init__(
        self,
        ticks: Sequence[Tick],
        leads: Callable[[], bool],
        clock: Clock,
        *,
        seconds: float,
        grace: float,
    ) -> None:
        self._ticks = ticks
        self._leads = leads
        self._clock = clock
        self._seconds = seconds
        self._grace = grace
        self._offset = self._clock_offset()
        self._ready_at = 0.0
        self._checked_at = time.monotonic()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="ticker", daemon=True)

    def start(self) -> None:
        self._restart_grace()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self._tick()
            except Exception as error:  # noqa: BLE001
                self._log_failure(error)

    def _tick(self) -> None:
        # The clock is checked last: `leads` may adjust it.
        if self._was_paused() or not self._leads() or self._clock_jumped():
            self._restart_grace()
        elif time.monotonic() >= self._ready_at:
            self._run_ticks()

    def _run_ticks(self) -> None:
        for tick in self._ticks:
            self._try(tick)

    def _try(self, tick: Tick) -> None:
        """Run one tick; its failure does not stop the others."""
        try:
            tick(self._clock())
        except Exception as error:  # noqa: BLE001
            self._log_failure(error)

    def _log_failure(self, error: Exception) -> None:
        if isinstance(error, Unavailable):
            log.warning("a tick failed; the next one tries again", extra={"error": error})
            self._restart_grace()
        else:
            log.error("a tick failed; the next one tries again", exc_info=error)

    def _restart_grace(self) -> None:
        self._ready_at = time.monotonic() + self._grace

    def _was_paused(self) -> bool:
        """Tell whether the process was paused since the last check, say with its container."""
        before, self._checked_at = self._checked_at, time.monotonic()
        return self._checked_at - before > self._seconds + self._grace / 2

    def _clock_jumped(self) -> bool:
        """Tell whether wall clock and monotonic clock have diverged since the last check."""
        before, self._offset = self._offset, self._clock_offset()
        return abs(self._offset - before) > self._grace / 2

    def _clock_offset(self) -> float:
        return self._clock().timestamp() - time.monotonic()


class Repeater:
    """Run one tick whenever `wake` is set, and every two seconds; without grace or leader."""

    def __init__(self, tick: Tick, wake: Event, clock: Clock) -> None:
        self._tick = tick
        self._wake = wake
        self._clock = clock
        self._is_stopping = False
        self._thread = Thread(target=self._run, name="repeater", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping = True
        self._wake.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._is_stopping:
            self._wake.wait(_REPEAT_SECONDS)
            self._wake.clear()
            try:
                self._tick(self._clock())
            except Unavailable as error:
                log.warning("a tick failed; the next one tries again", extra={"error": error})
            except Exception as error:
                log.error("a tick failed; the next one tries again", exc_info=error)
