"""Temporary disk space for request bodies."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from typing import TypeVar

from service.domain.errors import Unavailable
from service.domain.media import (
    MAX_KEYFRAMES,
    MAX_SAMPLE_BYTES,
    SAMPLES,
    Role,
    field_of,
    kind_of,
)

# Concurrent uploads, each with a block in memory and files on disk: in all, and per key.
_MAX_AT_ONCE, _MAX_PER_KEY = 32, 16


T = TypeVar("T")


@dataclass
class Uploads:
    """Limits of uploads, and the folder of their files until a job is accepted or refused.

    `max_bytes` is for everything in a body except its inputs.
    """

    folder: Path
    max_bytes: int
    max_image_bytes: int
    max_video_bytes: int
    max_seconds: float = field(default=600.0, init=False)  # to receive a body
    _active: Counter[str] = field(default_factory=Counter, init=False)  # by key
    _lock: Lock = field(default_factory=Lock, init=False)

    def max_bytes_of(self, role: Role) -> int:
        if field_of(role) == SAMPLES:
            return MAX_SAMPLE_BYTES
        return self.max_image_bytes if kind_of(role) == "image" else self.max_video_bytes

    @property
    def max_form_bytes(self) -> int:
        """Return the size of a form with the largest files."""
        num_images = 2 + MAX_KEYFRAMES
        return num_images * self.max_image_bytes + self.max_video_bytes + 2 * self.max_bytes

    @property
    def max_json_bytes(self) -> int:
        """Return the size of a JSON body with the largest files in base64."""
        return self.max_form_bytes * 4 // 3 + self.max_bytes

    async def with_timeout(self, reading: Awaitable[T]) -> T:
        """Await the reading of a body. Raises Unavailable after `max_seconds`, to free its slot."""
        try:
            async with asyncio.timeout(self.max_seconds):
                return await reading
        except TimeoutError:
            raise Unavailable("the body was not received in time") from None

    @contextmanager
    def area(self, key_id: str) -> Iterator["UploadArea"]:
        """Yield a temporary folder for the files of one request.

        Its first file raises Unavailable where too many uploads are active."""
        area = UploadArea(self, key_id)
        try:
            yield area
        finally:
            area.clear()

    def clear(self) -> None:
        """Delete the files that an earlier process left behind."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def acquire(self, key_id: str) -> Path:
        with self._lock:
            if self._active.total() >= _MAX_AT_ONCE or self._active[key_id] >= _MAX_PER_KEY:
                raise Unavailable("too many concurrent uploads; retry soon")
            self._active[key_id] += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(dir=self.folder))

    def release(self, key_id: str, folder: Path) -> None:
        with self._lock:
            self._active -= Counter({key_id: 1})  # drops keys without any
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class UploadArea:
    """The files of one request. Its folder is created with the first of them."""

    _uploads: Uploads
    _key_id: str
    _folder: Path | None = None

    def file(self, name: str) -> Path:
        if self._folder is None:
            self._folder = self._uploads.acquire(self._key_id)
        return self._folder / name

    def clear(self) -> None:
        if self._folder is not None:
            self._uploads.release(self._key_id, self._folder)
            self._folder = None
