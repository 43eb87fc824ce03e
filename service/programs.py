"""Programs that are run as processes of their own: modules of this package, and others."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import BoundedSemaphore
from time import monotonic
from typing import Any

import service
from service.domain.attempt import AttemptFailed, FailureKind

_MAX_PROCESSES = 2  # of each program: one may take a core and hundreds of megabytes
_POLL_SECONDS = 1.0


class ProgramTimeout(AttemptFailed):
    """Raised when a program does not end in time."""


@dataclass(frozen=True)
class Program:
    """A module that is run with `environment`, which needs no setting and no secret; failures call
    it `name`. Thread-safe."""

    module: str
    name: str
    environment: Mapping[str, str]
    slots: BoundedSemaphore = field(
        default_factory=lambda: BoundedSemaphore(_MAX_PROCESSES), init=False
    )

    def run(
        self,
        arguments: Sequence[str],
        content: bytes,
        time: timedelta,
        is_wanted: Callable[[], bool] | None = None,
    ) -> bytes:
        """Run it with `content` as its standard input, and return its output.

        It is killed when its time is over, and within about a second once it is not wanted. Raises
        AttemptFailed (machine) where it does not start, end by itself, or end well; ProgramTimeout
        where its time is over.
        """
        # Not from the current folder, which may be anybody's.
        command = [sys.executable, "-P", "-m", self.module, *arguments]
        environment = _with_package(self.environment)
        with self.slots:
            return run(command, content, time, environment, self.failure, is_wanted)

    def failure(self, reason: str) -> AttemptFailed:
        return machine_failure(f"the program of {self.name} {reason}")


def machine_failure(reason: str) -> AttemptFailed:
    message = f"the machine of the service failed: {reason}"
    return AttemptFailed(FailureKind.MACHINE, "machine_fault", message, of_model=False)


def run(
    command: Sequence[str],
    content: bytes,
    time: timedelta,
    environment: Mapping[str, str],
    failure: Callable[[str], AttemptFailed],
    is_wanted: Callable[[], bool] | None = None,
) -> bytes:
    """Run a command with `content` as its standard input, and return its output; it is killed once
    it is not wanted. Raises the `failure` of a reason where it does not start, end in time
    (ProgramTimeout), or end well."""
    try:
        process = _run(command, content, environment, time.total_seconds(), is_wanted)
    except subprocess.TimeoutExpired:
        late = failure(f"does not end within {time.total_seconds():g} s")
        raise ProgramTimeout(late.kind, late.code, late.message, of_model=False) from None
    except OSError as fault:
        raise failure(f"does not start: {fault.strerror}") from None
    if process is None:
        raise failure("was stopped, as nobody waits for it")
    if process.returncode != 0:
        errors = process.stderr.decode(errors="replace").strip()[-200:]
        raise failure(f"exits with {process.returncode}: {errors}")
    return process.stdout


def _run(
    command: Sequence[str],
    content: bytes,
    environment: Mapping[str, str],
    seconds: float,
    is_wanted: Callable[[], bool] | None,
) -> subprocess.CompletedProcess[bytes] | None:
    """Run a command; None if it was killed as it was not wanted. Raises OSError and
    TimeoutExpired."""
    end = monotonic() + seconds
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - no shell
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
    ) as process:
        rest: bytes | None = content
        try:
            while True:
                wait = min(_POLL_SECONDS, max(0.0, end - monotonic()))
                try:
                    output = process.communicate(rest, timeout=wait)
                    return subprocess.CompletedProcess(command, process.returncode, *output)
                except subprocess.TimeoutExpired:
                    if monotonic() >= end:
                        raise
                if is_wanted is not None and not is_wanted():
                    return None
                rest = None  # it remembers what it has not sent yet
        finally:
            process.kill()


def failure_line(failure: AttemptFailed) -> bytes:
    """Return the output of a program that fails by its input."""
    facts = [failure.kind, failure.code, failure.message]
    return json.dumps({"failure": facts}).encode() + b"\n"


def raise_failure(answer: Mapping[str, Any]) -> None:
    """Raise AttemptFailed for an answer of `failure_line`."""
    if "failure" in answer:
        kind, code, message = answer["failure"]
        raise AttemptFailed(FailureKind(kind), code, message, of_model=False)


def _with_package(environment: Mapping[str, str]) -> dict[str, str]:
    root = str(Path(service.__file__).parents[1])
    path = ":".join(filter(None, [root, environment.get("PYTHONPATH", "")]))
    return {**environment, "PYTHONPATH": path}
