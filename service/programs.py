"""Programs that are run as processes of their own: modules of this package, and others."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import service
from service.domain.attempt import AttemptFailed, FailureKind

_MAX_PROCESSES = 2  # of each program: one may take a core and hundreds of megabytes


@dataclass(frozen=True)
class Program:
    """A module that is run with `environment`, which needs no setting and no secret; failures call
    it `name`. Thread-safe."""

    module: str
    name: str
    environment: Mapping[str, str]
    slots: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_MAX_PROCESSES))

    def run(self, arguments: Sequence[str], content: bytes, time: timedelta) -> bytes:
        """Run it with `content` as its standard input, and return its output.

        Raises AttemptFailed (machine) where it does not start, end in time, or end well.
        """
        # Not from the current folder, which may be anybody's.
        command = [sys.executable, "-P", "-m", self.module, *arguments]
        with self.slots:
            return run(command, content, time, _with_package(self.environment), self.failure)

    def failure(self, reason: str) -> AttemptFailed:
        message = f"the machine of the service failed: the program of {self.name} {reason}"
        return AttemptFailed(FailureKind.MACHINE, "machine_fault", message, of_model=False)


def run(
    command: Sequence[str],
    content: bytes,
    time: timedelta,
    environment: Mapping[str, str],
    failure: Callable[[str], AttemptFailed],
) -> bytes:
    """Run a command with `content` as its standard input, and return its output. Raises the
    `failure` of a reason where it does not start, end in time, or end well."""
    try:
        process = subprocess.run(  # noqa: S603 - no shell
            command,
            input=content,
            capture_output=True,
            timeout=time.total_seconds(),
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise failure(f"does not end within {time.total_seconds():g} s") from None
    except OSError as fault:
        raise failure(f"does not start: {fault.strerror}") from None
    if process.returncode != 0:
        errors = process.stderr.decode(errors="replace").strip()[-200:]
        raise failure(f"exits with {process.returncode}: {errors}")
    return process.stdout


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
