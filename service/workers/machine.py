"""Faults of the machine that a worker runs on: they would stop any job, and are charged to none."""

import errno
import os
import shutil
import signal
import subprocess
from pathlib import Path

import imageio_ffmpeg

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.errors import StorageFull, Unavailable

_START_SECONDS = 60  # in which ffmpeg says its version, even where the disk is slow
# How somebody else ends a process: the kernel that is out of memory, a limit on files, a host
# that shuts down. Other signals may be the answer to a broken file.
_ENDED_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGXFSZ)
# What a machine lacks or forbids. Any other number may come of our own mistake, which would meet
# every attempt anew.
_NUMBERS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENXIO),
        *(errno.EACCES, errno.EPERM, errno.ENOEXEC),
    }
)
# What ffmpeg says in the system's words.
_SCARCE = (
    "No space left on device",
    "Disk quota exceeded",
    "Read-only file system",
    "Too many open files",
    "Cannot allocate memory",
    "Input/output error",
    "File too large",
    "Resource temporarily unavailable",
)


def reason_of(fault: BaseException, scratch: Path) -> str | None:
    """Tell why the machine is to blame for `fault`, in words without a path; None if it is not.

    An OSError without a number is a library's own word for a broken file.
    """
    if isinstance(fault, MemoryError):
        return "out of memory"
    if isinstance(fault, OSError):
        return _reason_of_number(fault.errno, scratch)
    if isinstance(fault, subprocess.TimeoutExpired):
        return "ffmpeg does not come to an end"
    if isinstance(fault, RuntimeError) and "can't start new thread" in str(fault):
        return "no thread can be started"
    if isinstance(fault, Unavailable | StorageFull):
        return "the place where videos are kept takes none"
    return None


def _reason_of_number(number: int | None, scratch: Path) -> str | None:
    if number in _NUMBERS:
        return os.strerror(number)
    if number in (errno.ENOENT, errno.ENOTDIR) and not scratch.is_dir():
        return "scratch is gone"
    return None


def failed(reason: str, code: str = "machine_fault") -> AttemptFailed:
    """The end of an attempt that is the machine's fault."""
    what = f"the worker's machine could not do its part: {reason}"
    return AttemptFailed(FailureKind.MACHINE, code, what)


def ffmpeg() -> str:
    """The program's path. Raises AttemptFailed (machine) where there is none."""
    try:
        path = str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        raise failed("ffmpeg is not there") from None
    if shutil.which(path) is None:
        raise failed("ffmpeg does not start: it is not there, or is no program")
    return path


def blame_for_ffmpeg(code: int, words: str = "") -> None:
    """Raise AttemptFailed (machine) if an ffmpeg that ended with `code` and these words failed by
    the machine's fault, and not by what it was given."""
    reason = _ended_by(code) or next((word for word in _SCARCE if word in words), None)
    reason = reason or fault_of_ffmpeg()
    if reason is not None:
        raise failed(reason)


def fault_of_ffmpeg() -> str | None:
    """Tell why ffmpeg does not start, or None if it does."""
    command = [ffmpeg(), "-version"]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and no word from outside
            command, capture_output=True, timeout=_START_SECONDS, check=False, env={}
        )
    except OSError as fault:
        return f"ffmpeg does not start: {fault.strerror}"
    except subprocess.TimeoutExpired:
        return "ffmpeg does not start: it does not come to an end"
    return (
        None if done.returncode == 0 else f"ffmpeg does not start: it ends with {done.returncode}"
    )


def _ended_by(code: int) -> str | None:
    if -code in _ENDED_FROM_OUTSIDE:
        return f"ffmpeg was ended by {signal.Signals(-code).name}"
    return None
