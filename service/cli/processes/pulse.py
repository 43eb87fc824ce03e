"""Heartbeats from a child's event loop through a pipe, and the timeout for them."""

import os
from contextlib import suppress
from dataclasses import dataclass

# Before its first heartbeat a process reads settings, imports code and opens the database.
_START_SECONDS = 300.0
_MAX_STEP_SECONDS = 1.0


@dataclass
class Pulse:
    """The parent's end. Only time in which the parent itself runs counts, so that a suspended or
    overloaded machine makes no child look hung."""

    timeout: float  # seconds
    descriptor: int
    silent_seconds: float = 0.0
    _has_beaten: bool = False

    def has_stopped(self, elapsed_seconds: float) -> bool:
        """Check for a heartbeat; call it often, with the time since the last call."""
        if self._receive():
            self._has_beaten, self.silent_seconds = True, 0.0
        else:
            self.silent_seconds += min(elapsed_seconds, _MAX_STEP_SECONDS)
        return self.silent_seconds >= (self.timeout if self._has_beaten else _START_SECONDS)

    def close(self) -> None:
        os.close(self.descriptor)

    def _receive(self) -> bool:
        with suppress(BlockingIOError):
            return bool(os.read(self.descriptor, 1 << 16))
        return False


def open_pulse(timeout: float) -> tuple[Pulse, int]:
    """Return the parent's end and the descriptor for the child."""
    parent_end, child_end = os.pipe()
    os.set_blocking(parent_end, False)
    return Pulse(timeout, parent_end), child_end


def beat(descriptor: int) -> None:
    """Send a heartbeat from the child; skipped while the pipe is full."""
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(descriptor, b".")
