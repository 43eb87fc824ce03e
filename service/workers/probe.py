"""Looks whether the machine of a worker can do its part: scratch, the place for videos, ffmpeg."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from service.domain.attempt import AttemptFailed
from service.workers.machine import fault_of_ffmpeg, reason_of
from service.workers.run import Bench

_FOLDER = "probe"
_BYTES = 1 << 20


def probe(bench: Bench) -> str | None:
    """Why no video can be made here just now, in words without a path; None if one can."""
    steps: dict[str, Callable[[], None]] = {
        "scratch": lambda: _write_scratch(bench.scratch),
        "the place for videos": lambda: _keep(bench),
    }
    for name, step in steps.items():
        try:
            step()
        except OSError as fault:
            # Nothing but files of ours is touched: whatever the system refuses is the machine's.
            return f"{name}: {fault.strerror}"
        except Exception as fault:
            reason = reason_of(fault, bench.scratch)
            if reason is None:
                raise
            return f"{name}: {reason}"
    try:
        return fault_of_ffmpeg()
    except AttemptFailed as failed:
        return failed.message


def _write_scratch(scratch: Path) -> None:
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as file:
        file.write(bytes(_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _keep(bench: Bench) -> None:
    """As a video is kept; nobody asks for it, and it is deleted at once."""
    key = f"{_FOLDER}/{uuid4().hex}.txt"
    with tempfile.TemporaryDirectory(dir=bench.scratch) as folder:
        source = Path(folder, "probe.txt")
        source.write_text("can a file be kept?")
        bench.artifacts.put(key, source, "text/plain")
    bench.artifacts.delete(key)
