"""Check the free space of the disk: bytes, and inodes, of which each file takes one."""

import logging
import os
import shutil
import time
from pathlib import Path

from service.domain.errors import StorageFull

log = logging.getLogger(__name__)

_CHECK_SECONDS = 1.0
_MIN_FREE_INODES = 100  # a job needs about ten


class DiskSpace:
    """Free space on the disk of `folder`, measured at most once a second."""

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._shortage: str | None = None
        self._valid_until = 0.0

    @property
    def enough(self) -> bool:
        now = time.monotonic()
        if now >= self._valid_until:
            shortage = self._measure()
            self._valid_until = now + _CHECK_SECONDS
            if shortage is not None and self._shortage is None:
                log.warning("disk is nearly full: jobs are refused", extra={"shortage": shortage})
            self._shortage = shortage
        return self._shortage is None

    def check(self) -> None:
        """Raise StorageFull where the disk is nearly full."""
        if not self.enough:
            raise StorageFull(
                f"the service's disk is nearly full ({self._shortage}): delete old jobs "
                "(`rushes delete ID`, or DELETE /v1/jobs/{job_id}), or ask its operator"
            )

    def _measure(self) -> str | None:
        """Describe the shortage, or return None."""
        free_bytes = shutil.disk_usage(self._folder).free
        if free_bytes < self._min_free_bytes:
            return f"{free_bytes / 1e9:.2f} GB free, {self._min_free_bytes / 1e9:.2f} GB needed"
        disk = os.statvfs(self._folder)
        # Some file systems create inodes on demand, and report none.
        if disk.f_files and disk.f_favail < _MIN_FREE_INODES:
            return f"{disk.f_favail} inodes free, {_MIN_FREE_INODES} needed"
        return None
