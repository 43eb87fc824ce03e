"""A child process of the supervisor, restarted when it ends or hangs."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.cli.processes.pulse import Pulse, open_pulse

_QUICK_CRASH_SECONDS = 5.0
_MAX_PAUSE_SECONDS = 30.0


@dataclass
class Child:
    """A process that is kept running; quick crashes are restarted after a growing pause."""

    arguments: list[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...] = ()
    heartbeat_timeout: float | None = None  # seconds; None: it sends no heartbeat
    process: subprocess.Popen[bytes] | None = None
    _pulse: Pulse | None = None
    _checked_at: float = 0.0
    _started_at: float = 0.0
    _pause: float = 0.0
    _restart_at: float | None = None

    def start(self) -> None:
        self._started_at = self._checked_at = time.monotonic()
        self._restart_at = None
        with self._heartbeat_pipe() as (flags, descriptors):
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.cli.main", *self.arguments, *flags],
                env=self.environment,
                pass_fds=(*self.descriptors, *descriptors),
                stdin=subprocess.PIPE,  # closes when this process ends: see parent_watch.py
                start_new_session=True,  # Ctrl-C reaches the supervisor alone
            )

    @property
    def exit_code(self) -> int | None:
        return None if self.process is None else self.process.poll()

    def watch(self) -> str | None:
        """Restart the process if it ended and its pause is over; return a message to log."""
        now = time.monotonic()
        step_seconds, self._checked_at = now - self._checked_at, now
        if self.exit_code is None:
            return self._kill_if_hung(step_seconds)
        if self._restart_at is None:
            quick = now - self._started_at < _QUICK_CRASH_SECONDS
            self._pause = min(max(1.0, self._pause * 2), _MAX_PAUSE_SECONDS) if quick else 0.0
            self._restart_at = now + self._pause
            return f"{self.arguments[0]} exited with {self.exit_code}; restarting it"
        if now >= self._restart_at:
            self.start()
        return None

    @contextmanager
    def _heartbeat_pipe(self) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        """Yield the flags and descriptors by which the new process sends heartbeats."""
        if self._pulse is not None:
            self._pulse.close()
            self._pulse = None
        if self.heartbeat_timeout is None:
            yield [], ()
            return
        self._pulse, child_end = open_pulse(self.heartbeat_timeout)
        try:
            yield ["--pulse-fd", str(child_end)], (child_end,)
        finally:
            os.close(child_end)

    def _kill_if_hung(self, step_seconds: float) -> str | None:
        if self.process is None or self._pulse is None or not self._pulse.has_stopped(step_seconds):
            return None
        self.process.kill()
        self.process.wait()
        silent = f"{self._pulse.silent_seconds:.0f} s"
        return f"{self.arguments[0]} sent no heartbeat for {silent} and was killed"

    def end(self, seconds: float) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
