"""Whether the disk has room for more videos: bytes, and inodes, which each file takes one of."""

import os
import shutil
import time
from pathlib import Path

from service.domain.errors import StorageFull
from service.log import Log

log = Log(__name__)

_LOOK_SECONDS = 1.0
_MIN_FREE_INODES = 100  # a job needs about ten


class DiskSpace:
    """What is free on the disk of `folder`, looked up now and then."""

    def __init__(self, folder: Path, least_bytes: int) -> None:
        self._folder = folder
        self._least_bytes = least_bytes
        self._lack: str | None = None
        self._good_until = 0.0

    @property
    def enough(self) -> bool:
        now = time.monotonic()
        if now >= self._good_until:
            lack = self._look()
            self._good_until = now + _LOOK_SECONDS
            if lack is not None and self._lack is None:
                log.warning("disk is nearly full: no job is taken", lack=lack)
            self._lack = lack
        return self._lack is None

    def check(self) -> None:
        """Raises StorageFull: a job that could not be kept is not accepted."""
        if not self.enough:
            raise StorageFull(
                f"{self._lack} on the service's disk; delete old jobs, or tell whoever runs it"
            )

    def _look(self) -> str | None:
        """What there is too little of, in words."""
        free_bytes = shutil.disk_usage(self._folder).free
        if free_bytes < self._least_bytes:
            return f"only {free_bytes:,} bytes are free, and {self._least_bytes:,} must be,"
        disk = os.statvfs(self._folder)
        # Some file systems make inodes as they are needed, and count none.
        if disk.f_files and disk.f_favail < _MIN_FREE_INODES:
            return f"only {disk.f_favail:,} inodes are free, and {_MIN_FREE_INODES:,} must be,"
        return None
