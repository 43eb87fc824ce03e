"""Faults of a worker's machine: they would fail any job, and are not charged to the job."""

import errno
import os
import subprocess
from pathlib import Path

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.errors import StorageFull, Unavailable

# Missing resources or permissions. Any other errno may be a bug, which would fail every attempt.
_MACHINE_ERRNOS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENXIO),
        *(errno.EACCES, errno.EPERM, errno.ENOEXEC),
    }
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
