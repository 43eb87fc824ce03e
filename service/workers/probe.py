"""Check that a worker's machine can run jobs: scratch folder, artifact store, ffmpeg."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from service.domain.attempt import AttemptFailed, job_folder
from service.domain.ids import JobId, new
from service.workers.ffmpeg import ffmpeg_start_error
from service.workers.machine import machine_fault_reason
from service.workers.recipe import WorkerEnvironment

_BYTES = 1 << 20


def probe(environment: WorkerEnvironment) -> str | None:
    """Return why no video can be made here now, without a path; None if one can."""
    steps: dict[str, Callable[[], None]] = {
        "the scratch folder": lambda: _write_scratch(environment.scratch),
        "the artifact store": lambda: _write_artifact(environment),
    }
    for name, step in steps.items():
        try:
            step()
        except OSError as fault:
            # Only the service's own files are touched, so every OSError is the machine's fault.
            return f"{name}: {fault.strerror}"
        except Exception as fault:
            reason = machine_fault_reason(fault, environment.scratch)
            if reason is None:
                raise
            return f"{name}: {reason}"
    try:
        return ffmpeg_start_error()
    except AttemptFailed as failure:
        return failure.message


def _write_scratch(scratch: Path) -> None:
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as file:
        file.write(bytes(_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _write_artifact(environment: WorkerEnvironment) -> None:
    """Put a file into the artifact store and delete it.

    Its folder has a new job id: if this process is killed in between, retention collects it.
    """
    folder_key = job_folder(JobId(new("job")))
    with tempfile.TemporaryDirectory(dir=environment.scratch) as folder:
        source = Path(folder, "probe.txt")
        source.write_text("probe")
        environment.artifacts.put(f"{folder_key}/probe.txt", source, "text/plain")
    environment.artifacts.delete(folder_key)
