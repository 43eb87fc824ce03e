"""Keep a worker with a faulty machine from claiming jobs until a probe passes."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from service.domain.attempt import Failure, FailureKind, Outcome

log = logging.getLogger(__name__)

# After so many faults in a row the next probe is delayed: it writes little, so passing proves less.
_MAX_FAULTS = 3
_FIRST_PAUSE_SECONDS = 10.0
_MAX_PAUSE_SECONDS = 300.0


@dataclass
class Readiness:
    """Decides whether this worker may claim jobs. `probe` returns why it cannot work, or None."""

    probe: Callable[[], str | None]
    clock: Callable[[], float] = time.monotonic
    reason: str | None = None  # why it claims none
    _faults: int = 0  # consecutive
    _probe_at: float = 0.0
    _is_stop_logged: bool = False
    _lock: Lock = field(default_factory=Lock)

    def record(self, result: object) -> None:
        """Record the result of an attempt, before its slot is free for another."""
        with self._lock:
            if isinstance(result, Outcome):
                self._faults = 0
            elif isinstance(result, Failure) and result.kind is FailureKind.MACHINE:
                self._faults += 1
                self.reason = result.message
                self._probe_at = self.clock() + self._pause()

    def can_work(self) -> bool:
        """Return False while the machine is faulty; probe it again once the pause is over.

        Called before each claim. Other threads wait for a running probe, at most about a minute.
        """
        with self._lock:
            if self.reason is None:
                return True
            if self.clock() >= self._probe_at:
                reason = self.probe()
                if reason is None:
                    self._resume()
                    return True
                self.reason = reason
            self._log_stop()
            return False

    def _pause(self) -> float:
        doublings = self._faults - _MAX_FAULTS
        if doublings < 0:
            return 0.0
        return float(min(_FIRST_PAUSE_SECONDS * 2**doublings, _MAX_PAUSE_SECONDS))

    def _log_stop(self) -> None:
        if not self._is_stop_logged:
            self._is_stop_logged = True
            log.error("worker claims no jobs: its machine is faulty", extra={"reason": self.reason})

    def _resume(self) -> None:
        if self._is_stop_logged:
            log.info("worker claims jobs again")
        self._is_stop_logged, self.reason = False, None
