"""Large bodies on their way in: bounded in number and size, kept on the disk and not in memory."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from typing import TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from service.domain.errors import Unavailable
from service.domain.media import MOST_KEYFRAMES, Role

# Each holds a block in memory and its files on the disk; one key cannot take every place.
_MOST_AT_ONCE, _MOST_OF_KEY = 32, 16
_BLOCK = 1 << 18

T = TypeVar("T")


@dataclass
class Incoming:
    """What may come in, and where it lies until it is kept or refused.

    `most_bytes` is for everything in a body that is neither picture nor film.
    """

    folder: Path
    most_bytes: int
    most_image_bytes: int
    most_video_bytes: int
    longest_seconds: float = 600.0  # that a body may take to come in
    _now: Counter[str] = field(default_factory=Counter, init=False)  # by key
    _door: Lock = field(default_factory=Lock, init=False)

    def most_bytes_of(self, role: Role) -> int:
        return self.most_video_bytes if role == "video" else self.most_image_bytes

    @property
    def most_form_bytes(self) -> int:
        """A whole form with the largest files; its boundaries take little room."""
        pictures = 2 + MOST_KEYFRAMES
        return pictures * self.most_image_bytes + self.most_video_bytes + 2 * self.most_bytes

    @property
    def most_json_bytes(self) -> int:
        """The same files as base64."""
        return self.most_form_bytes * 4 // 3 + self.most_bytes

    async def in_time(self, reading: Awaitable[T]) -> T:
        """What reads a body. Raises Unavailable for one that drips: it holds no place for ever."""
        try:
            async with asyncio.timeout(self.longest_seconds):
                return await reading
        except TimeoutError:
            raise Unavailable("the body did not come in in time") from None

    @contextmanager
    def desk(self, key_id: str) -> Iterator["Desk"]:
        """A place for the files of one request, gone when it is over; its first file raises
        Unavailable where too many requests have some."""
        desk = Desk(self, key_id)
        try:
            yield desk
        finally:
            desk.clear()

    def clear(self) -> None:
        """Nothing of what a process before this one was sent is wanted any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def enter(self, key_id: str) -> Path:
        with self._door:
            if self._now.total() >= _MOST_AT_ONCE or self._now[key_id] >= _MOST_OF_KEY:
                raise Unavailable("too many requests with files are coming in; come back soon")
            self._now[key_id] += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(dir=self.folder))

    def leave(self, key_id: str, folder: Path) -> None:
        with self._door:
            self._now -= Counter({key_id: 1})  # a key without any is not kept
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Desk:
    """The files of one request, named by whoever puts them there."""

    _incoming: Incoming
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


async def blocks(request: Request) -> AsyncIterator[bytes]:
    """The body, in blocks that are worth a thread's while each."""
    block = bytearray()
    async for piece in request.stream():
        block += piece
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


async def receive(request: Request, desk: Desk, most_in_memory: int) -> bytes | Path:
    """The whole body: in memory, or in a file where it is larger than that."""
    head = bytearray()
    stream = request.stream()
    async for piece in stream:
        head += piece
        if len(head) > most_in_memory:
            break
    else:
        return bytes(head)
    path = desk.file("body")
    with path.open("wb") as file:
        file.write(head)
        head.clear()
        async for piece in stream:
            head += piece
            if len(head) >= _BLOCK:
                await run_in_threadpool(file.write, bytes(head))
                head.clear()
        file.write(head)
    return path
