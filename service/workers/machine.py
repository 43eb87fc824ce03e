"""Faults of a worker's machine: they would fail any job, and are not charged to the job."""

import errno
import os
import shutil
import signal
import subprocess
from pathlib import Path

import imageio_ffmpeg

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.errors import StorageFull, Unavailable

_RUN_SECONDS = 600  # frames are copied: an hour of video takes seconds
_START_SECONDS = 60  # for `ffmpeg -version`, even from a slow disk
# Signals from outside ffmpeg: the OOM killer, a file size limit, a host that shuts down. Others may
# be caused by a broken file.
_OUTSIDE_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGXFSZ)
# Missing resources or permissions. Any other errno may be a bug, which would fail every attempt.
_MACHINE_ERRNOS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENXIO),
        *(errno.EACCES, errno.EPERM, errno.ENOEXEC),
    }
)
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


def machine_fault_reason(fault: BaseException, scratch: Path) -> str | None:
    """Return why the machine caused `fault`, without a path; None if it did not.

    Libraries raise an OSError without errno for a broken file.
    """
    if isinstance(fault, MemoryError):
        return "out of memory"
    if isinstance(fault, OSError):
        return _errno_reason(fault.errno, scratch)
    if isinstance(fault, subprocess.TimeoutExpired):
        return "ffmpeg does not terminate"
    if isinstance(fault, RuntimeError) and "can't start new thread" in str(fault):
        return "no thread can be started"
    if isinstance(fault, Unavailable | StorageFull):
        return "the artifact store does not accept videos"
    return None


def _errno_reason(number: int | None, scratch: Path) -> str | None:
    if number in _MACHINE_ERRNOS:
        return os.strerror(number)
    if number in (errno.ENOENT, errno.ENOTDIR) and not scratch.is_dir():
        return "the scratch folder is missing"
    return None


def machine_failure(reason: str, code: str = "machine_fault") -> AttemptFailed:
    """Build a failure of kind machine."""
    message = f"the worker's machine failed: {reason}"
    return AttemptFailed(FailureKind.MACHINE, code, message)


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
