"""Whether the disk has room for more clips."""

import shutil
import time
from pathlib import Path

from service.domain.errors import StorageFull
from service.log import Log

log = Log(__name__)

_LOOK_SECONDS = 1.0


class Room:
    """What is free on the disk of `folder`, looked up now and then."""

    def __init__(self, folder: Path, least_bytes: int) -> None:
        self._folder = folder
        self._least_bytes = least_bytes
        self._free_bytes = least_bytes
        self._good_until = 0.0

    @property
    def enough(self) -> bool:
        now = time.monotonic()
        if now >= self._good_until:
            was_enough = self._free_bytes >= self._least_bytes
            self._free_bytes = shutil.disk_usage(self._folder).free
            self._good_until = now + _LOOK_SECONDS
            if was_enough and self._free_bytes < self._least_bytes:
                log.warning("disk is nearly full: no job is taken", free_bytes=self._free_bytes)
        return self._free_bytes >= self._least_bytes

    def check(self) -> None:
        """Raises StorageFull: a job that could not be kept is not accepted."""
        if not self.enough:
            raise StorageFull(
                f"only {self._free_bytes:,} bytes are free on the service's disk, and "
                f"{self._least_bytes:,} must be; delete old jobs, or tell whoever runs it"
            )
