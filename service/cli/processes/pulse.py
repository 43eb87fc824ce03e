"""Signs of life from a child's event loop, through a pipe; how long it may be without any."""

import os
from contextlib import suppress
from dataclasses import dataclass

# Before its first sign a process reads its settings, loads its code and opens its database.
_START_SECONDS = 300.0
_MAX_STEP_SECONDS = 1.0


@dataclass
class Pulse:
    """The parent's end. Silence is counted while the parent itself runs: a machine that was
    suspended, or is so busy that nobody gets on, makes no child look hung."""

    patience: float
    descriptor: int
    silent_seconds: float = 0.0
    _heard: bool = False

    def has_stopped(self, waited_seconds: float) -> bool:
        """Asked again and again, with the time since it was asked last."""
        if self._listen():
            self._heard, self.silent_seconds = True, 0.0
        else:
            self.silent_seconds += min(waited_seconds, _MAX_STEP_SECONDS)
        return self.silent_seconds >= (self.patience if self._heard else _START_SECONDS)

    def close(self) -> None:
        os.close(self.descriptor)

    def _listen(self) -> bool:
        with suppress(BlockingIOError):
            return bool(os.read(self.descriptor, 1 << 16))
        return False


def open_pulse(patience: float) -> tuple[Pulse, int]:
    """The parent's end, and the descriptor that the child is to be given."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    return Pulse(patience, ours), theirs


def beat(descriptor: int) -> None:
    """The child's part; a parent that does not listen just now has signs enough to read."""
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(descriptor, b".")
