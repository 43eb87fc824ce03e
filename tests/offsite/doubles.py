"""A BlobStore and a KeyValue in a folder that processes share, and what a test does to them."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from uuid import uuid4

from service.domain.errors import Unavailable
from service.offsite.ports import Entry


@dataclass(frozen=True)
class FolderBlobs:
    """A file appears whole, as on a Volume."""

    root: Path

    def names(self) -> list[str]:
        return [str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()]

    def put(self, name: str, content: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)

    def get(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def delete(self, prefix: str) -> None:
        shutil.rmtree(self.root / prefix, ignore_errors=True)


@dataclass(frozen=True)
class FolderEntries:
    root: Path

    def create(self, name: str, entry: Entry) -> bool:
        scratch = self._scratch(entry)
        try:
            os.link(scratch, self.root / name)
        except FileExistsError:
            return False
        finally:
            scratch.unlink()
        return True

    def read(self, name: str) -> Entry | None:
        try:
            found: Entry = json.loads((self.root / name).read_text())
        except FileNotFoundError:
            return None
        return found

    def write(self, name: str, entry: Entry) -> None:
        self._scratch(entry).replace(self.root / name)

    def _scratch(self, entry: Entry) -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / f".{uuid4().hex}"
        path.write_text(json.dumps(entry))
        return path


def _replace(path: Path, content: bytes) -> None:
    scratch = path.with_name(f".{path.name}.{uuid4().hex}")
    scratch.write_bytes(content)
    scratch.replace(path)


@dataclass
class Watched:
    """A blob store that counts, can be held up or away, and lets a test act around a put."""

    blobs: FolderBlobs
    puts: list[str] = field(default_factory=list)
    away: bool = False
    lose_answer: bool = False
    before_put: Callable[[], None] = lambda: None
    after_put: Callable[[], None] = lambda: None
    open: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.open.set()

    def calm(self) -> None:
        """Nothing is in the way any more."""
        self.away = self.lose_answer = False
        self.before_put = self.after_put = lambda: None
        self.open.set()

    def names(self) -> list[str]:
        self._reach()
        return self.blobs.names()

    def put(self, name: str, content: bytes) -> None:
        self._reach()
        self.before_put()
        assert self.open.wait(30)
        self.blobs.put(name, content)
        self.puts.append(name)
        self.after_put()
        if self.lose_answer:
            raise Unavailable("the answer was lost")

    def get(self, name: str) -> bytes | None:
        self._reach()
        return self.blobs.get(name)

    def delete(self, prefix: str) -> None:
        self._reach()
        self.blobs.delete(prefix)

    def _reach(self) -> None:
        if self.away:
            raise Unavailable("the blob store is away")
