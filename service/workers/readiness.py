"""Keeps a worker whose machine is at fault away from the queue until a probe says it can work."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from service.domain.attempt import Failure, FailureKind, Outcome
from service.log import Log

log = Log(__name__)

# With so many faults in a row a probe that passes is not believed at once: it writes little.
_MAX_FAULTS = 3
_FIRST_PAUSE_SECONDS = 10.0
_MAX_PAUSE_SECONDS = 300.0


@dataclass
class Readiness:
    """Tells whether this worker may take a job. `probe` answers why it cannot work, or None."""

    probe: Callable[[], str | None]
    clock: Callable[[], float] = time.monotonic
    reason: str | None = None  # why it takes none
    _faults: int = 0  # in a row, without a video in between
    _probe_at: float = 0.0
    _stopped: bool = False  # the log knows
    _lock: Lock = field(default_factory=Lock)

    def note(self, made: object) -> None:
        """Take in how an attempt has ended; told before its place is free for another."""
        with self._lock:
            if isinstance(made, Outcome):
                self._faults = 0
            elif isinstance(made, Failure) and made.kind is FailureKind.MACHINE:
                self._faults += 1
                self.reason = made.message
                self._probe_at = self.clock() + self._pause()

    def can_work(self) -> bool:
        """Asked before each claim; probes the machine after a fault, once the pause is over.

        Whoever else asks or notes meanwhile waits for that probe, which takes a minute at most
        before ffmpeg is given up: its answer is theirs too.
        """
        with self._lock:
            if self.reason is None:
                return True
            if self.clock() >= self._probe_at:
                reason = self.probe()
                if reason is None:
                    self._go_on()
                    return True
                self.reason = reason
            self._tell()
            return False

    def _pause(self) -> float:
        beyond = self._faults - _MAX_FAULTS
        if beyond < 0:
            return 0.0
        return float(min(_FIRST_PAUSE_SECONDS * 2**beyond, _MAX_PAUSE_SECONDS))

    def _tell(self) -> None:
        if not self._stopped:
            self._stopped = True
            log.error("worker takes no jobs: its machine is at fault", reason=self.reason)

    def _go_on(self) -> None:
        if self._stopped:
            log.info("worker takes jobs again")
        self._stopped, self.reason = False, None
