"""Disk space for request bodies that are being received."""

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
from service.domain.media import MAX_KEYFRAMES, Role

# Each holds a block in memory and its files on the disk; one key cannot take every place.
_MAX_AT_ONCE, _MAX_OF_KEY = 32, 16


T = TypeVar("T")


@dataclass
class Uploads:
    """What may come in, and where it lies until it is kept or refused.

    `max_bytes` is for everything in a body that is neither picture nor film.
    """

    folder: Path
    max_bytes: int
    max_image_bytes: int
    max_video_bytes: int
    max_seconds: float = 600.0  # that a body may take to come in
    _now: Counter[str] = field(default_factory=Counter, init=False)  # by key
    _door: Lock = field(default_factory=Lock, init=False)

    def max_bytes_of(self, role: Role) -> int:
        return self.max_video_bytes if role == "video" else self.max_image_bytes

    @property
    def max_form_bytes(self) -> int:
        """A whole form with the largest files; its boundaries take little room."""
        pictures = 2 + MAX_KEYFRAMES
        return pictures * self.max_image_bytes + self.max_video_bytes + 2 * self.max_bytes

    @property
    def max_json_bytes(self) -> int:
        """The same files as base64."""
        return self.max_form_bytes * 4 // 3 + self.max_bytes

    async def in_time(self, reading: Awaitable[T]) -> T:
        """What reads a body. Raises Unavailable for one that drips: it holds no place for ever."""
        try:
            async with asyncio.timeout(self.max_seconds):
                return await reading
        except TimeoutError:
            raise Unavailable("the body did not come in in time") from None

    @contextmanager
    def area(self, key_id: str) -> Iterator["UploadArea"]:
        """A place for the files of one request, gone when it is over; its first file raises
        Unavailable where too many requests have some."""
        area = UploadArea(self, key_id)
        try:
            yield area
        finally:
            area.clear()

    def clear(self) -> None:
        """Nothing of what a process before this one was sent is wanted any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def enter(self, key_id: str) -> Path:
        with self._door:
            if self._now.total() >= _MAX_AT_ONCE or self._now[key_id] >= _MAX_OF_KEY:
                raise Unavailable("too many requests with files are coming in; come back soon")
            self._now[key_id] += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(dir=self.folder))

    def leave(self, key_id: str, folder: Path) -> None:
        with self._door:
            self._now -= Counter({key_id: 1})  # a key without any is not kept
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class UploadArea:
    """The files of one request, named by whoever puts them there."""

    _incoming: Uploads
    _key_id: str
    _folder: Path | None = None

    def file(self, name: str) -> Path:
        if self._folder is None:
            self._folder = self._incoming.enter(self._key_id)
        return self._folder / name

    def clear(self) -> None:
        if self._folder is not None:
            self._incoming.leave(self._key_id, self._folder)
            self._folder = None
