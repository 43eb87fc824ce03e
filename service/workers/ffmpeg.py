"""ffmpeg as a worker runs it: where it is, whether it starts, and what its exit codes blame."""

import shutil
import signal
import subprocess

import imageio_ffmpeg

from service.domain.attempt import AttemptFailed, FailureKind
from service.workers.machine import machine_failure

_RUN_SECONDS = 600  # frames are copied: an hour of video takes seconds
_START_SECONDS = 60  # for `ffmpeg -version`, even from a slow disk
# Signals from outside ffmpeg: the OOM killer, a file size limit, a host that shuts down. Others may
# be caused by a broken file.
_OUTSIDE_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGXFSZ)
# System messages in the output of ffmpeg.
_MACHINE_MESSAGES = (
    "No space left on device",
    "Disk quota exceeded",
    "Read-only file system",
    "Too many open files",
    "Cannot allocate memory",
    "Input/output error",
    "File too large",
    "Resource temporarily unavailable",
)


def ffmpeg_path() -> str:
    """Return the path of ffmpeg. Raises AttemptFailed (machine) when it is missing."""
    try:
        path = str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        raise machine_failure("ffmpeg is not installed") from None
    if shutil.which(path) is None:
        raise machine_failure("ffmpeg does not start: it is missing or not executable")
    return path


def run_ffmpeg(options: list[str], act: str, code: str, content: bytes = b"") -> None:
    """Run ffmpeg on files that a worker made itself, with `content` as its standard input.

    Raises AttemptFailed when it could not `act`: machine by a fault of the machine, else internal
    with this code.
    """
    process = subprocess.run(  # noqa: S603
        [ffmpeg_path(), *"-nostdin -hide_banner -v error -y".split(), *options],
        input=content,
        env={},
        capture_output=True,
        timeout=_RUN_SECONDS,
        check=False,
    )
    if process.returncode != 0:
        errors = process.stderr.decode(errors="replace").strip()[-500:]
        raise_if_machine_fault(process.returncode, errors)
        message = f"ffmpeg could not {act}: {errors}"
        raise AttemptFailed(FailureKind.INTERNAL, code, message, of_model=False)


def raise_if_machine_fault(code: int, errors: str = "") -> None:
    """Raise AttemptFailed (machine) if ffmpeg's exit code or error output blames the machine, and
    not the input."""
    reason = _killed_by(code) or next((text for text in _MACHINE_MESSAGES if text in errors), None)
    reason = reason or ffmpeg_start_error()
    if reason is not None:
        raise machine_failure(reason)


def ffmpeg_start_error() -> str | None:
    """Return why ffmpeg does not start, or None if it does."""
    command = [ffmpeg_path(), "-version"]
    try:
        process = subprocess.run(  # noqa: S603 - no shell, no input from outside
            command, capture_output=True, timeout=_START_SECONDS, check=False, env={}
        )
    except OSError as fault:
        return f"ffmpeg does not start: {fault.strerror}"
    except subprocess.TimeoutExpired:
        return "ffmpeg does not start: it does not terminate"
    code = process.returncode
    return None if code == 0 else f"ffmpeg does not start: it exits with {code}"


def _killed_by(code: int) -> str | None:
    if -code in _OUTSIDE_SIGNALS:
        return f"ffmpeg was killed by {signal.Signals(-code).name}"
    return None
