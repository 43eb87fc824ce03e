"""Looks whether the machine of a worker can do its part: scratch, the place for videos, ffmpeg."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from service.domain.artifact import job_folder
from service.domain.attempt import AttemptFailed
from service.domain.ids import JobId, new
from service.workers.machine import fault_of_ffmpeg, reason_of
from service.workers.recipe import WorkerEnvironment

_BYTES = 1 << 20


def probe(bench: WorkerEnvironment) -> str | None:
    """Tell why no video can be made here just now, in words without a path; None if one can."""
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


def _keep(bench: WorkerEnvironment) -> None:
    """Keep a file as a video is kept, and delete it at once. Its folder is that of a job that never
    was: if this process is killed in between, it is collected with other stray bytes."""
    folder_key = job_folder(JobId(new("job")))
    with tempfile.TemporaryDirectory(dir=bench.scratch) as folder:
        source = Path(folder, "probe.txt")
        source.write_text("can a file be kept?")
        bench.artifacts.put(f"{folder_key}/probe.txt", source, "text/plain")
    bench.artifacts.delete(folder_key)
