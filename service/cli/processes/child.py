"""A child process of the supervisor, started again when it ends or hangs."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.cli.processes.pulse import Pulse, open_pulse

_QUICK_DEATH_SECONDS = 5.0
_MAX_PAUSE_SECONDS = 30.0


@dataclass
class Child:
    """A process that must run. One that dies young is started again after a growing pause."""

    arguments: list[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...] = ()
    patience: float | None = None  # how long it may give no sign of life; None: it gives none
    process: subprocess.Popen[bytes] | None = None
    _pulse: Pulse | None = None
    _minded: float = 0.0
    _started: float = 0.0
    _pause: float = 0.0
    _again_at: float | None = None

    def start(self) -> None:
        self._started = self._minded = time.monotonic()
        self._again_at = None
        with self._pulse_for_it() as (flags, given):
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.cli.main", *self.arguments, *flags],
                env=self.environment,
                pass_fds=(*self.descriptors, *given),
                stdin=subprocess.PIPE,  # its lifeline: closes when we end
                start_new_session=True,  # Ctrl-C is for us; we stop them in order
            )

    @property
    def ended(self) -> int | None:
        return None if self.process is None else self.process.poll()

    def watch(self) -> str | None:
        """Start it again if it ended, once its pause is over; answers news for the watcher."""
        now = time.monotonic()
        waited, self._minded = now - self._minded, now
        if self.ended is None:
            return self._kill_if_hung(waited)
        if self._again_at is None:
            quick = now - self._started < _QUICK_DEATH_SECONDS
            self._pause = min(max(1.0, self._pause * 2), _MAX_PAUSE_SECONDS) if quick else 0.0
            self._again_at = now + self._pause
            return f"{self.arguments[0]} ended with {self.ended}; starting it again"
        if now >= self._again_at:
            self.start()
        return None

    @contextmanager
    def _pulse_for_it(self) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        """The flags and descriptors by which a new process gives its signs of life."""
        if self._pulse is not None:
            self._pulse.close()
            self._pulse = None
        if self.patience is None:
            yield [], ()
            return
        self._pulse, theirs = open_pulse(self.patience)
        try:
            yield ["--pulse-fd", str(theirs)], (theirs,)
        finally:
            os.close(theirs)

    def _kill_if_hung(self, waited: float) -> str | None:
        if self.process is None or self._pulse is None or not self._pulse.has_stopped(waited):
            return None
        self.process.kill()
        self.process.wait()
        silent = f"{self._pulse.silent_seconds:.0f} s"
        return f"{self.arguments[0]} gave no sign of life for {silent}; it hangs and was killed"

    def end(self, seconds: float) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
