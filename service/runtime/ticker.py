"""The ticks that run beside the API, on a thread of their own."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Event, Thread

from service.domain.errors import Unavailable
from service.domain.ports import Clock
from service.log import Log

log = Log(__name__)

Tick = Callable[[datetime], object]


class Ticker:
    """Runs the ticks every `seconds`, but not before a `grace`: while the service was away no
    worker could be heard, and to call them all dead would generate every running job twice. The
    same while the database was away, and after a jump of the clock, say when a laptop's lid was
    closed.

    `leads` says whether this process is the one that ticks: of several, one does at a time. A turn
    that comes after another process had it begins with a grace as well: perhaps none had it.
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
        self._looked_at = time.monotonic()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="ticker", daemon=True)

    def start(self) -> None:
        self._wait_a_grace()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self._tick()
            except Exception as fault:  # noqa: BLE001
                self._failed(fault)

    def _tick(self) -> None:
        # The jump is asked after last: whoever leads may follow the machine's clock just then.
        if self._slept() or not self._leads() or self._clock_jumped():
            self._wait_a_grace()
        elif time.monotonic() >= self._ready_at:
            self._do_all()

    def _do_all(self) -> None:
        for tick in self._ticks:
            self._try(tick)

    def _try(self, tick: Tick) -> None:
        """One that fails holds up no other."""
        try:
            tick(self._clock())
        except Exception as fault:  # noqa: BLE001
            self._failed(fault)

    def _failed(self, fault: Exception) -> None:
        if isinstance(fault, Unavailable):
            log.warning("a tick failed; the next one tries again", error=fault)
            self._wait_a_grace()
        else:
            log.error("a tick failed; the next one tries again", fault)

    def _wait_a_grace(self) -> None:
        self._ready_at = time.monotonic() + self._grace

    def _slept(self) -> bool:
        """Whether we were held up since the last look, say by a paused container."""
        before, self._looked_at = self._looked_at, time.monotonic()
        return self._looked_at - before > self._seconds + self._grace / 2

    def _clock_jumped(self) -> bool:
        """Whether the clock and the time that really passed have come apart since the last look."""
        before, self._offset = self._offset, self._clock_offset()
        return abs(self._offset - before) > self._grace / 2

    def _clock_offset(self) -> float:
        return self._clock().timestamp() - time.monotonic()


class Repeater:
    """Runs one tick whenever it is woken, and every so often: it needs no grace and no turn."""

    def __init__(self, tick: Tick, wake: Event, clock: Clock, seconds: float = 2.0) -> None:
        self._tick = tick
        self._wake = wake
        self._clock = clock
        self._seconds = seconds
        self._stopping = False
        self._thread = Thread(target=self._run, name="repeater", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._seconds)
            self._wake.clear()
            try:
                self._tick(self._clock())
            except Unavailable as error:
                log.warning("a tick failed; the next one tries again", error=error)
            except Exception as fault:  # noqa: BLE001
                log.error("a tick failed; the next one tries again", fault)
