"""A Modal Volume as far as the artifacts use one: a folder. The real one runs in tests/modal."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    path: str


class FolderVolume:
    """What is written at `mount` is seen by the others after a commit, as on a Volume."""

    def __init__(self, folder: Path) -> None:
        self.mount = folder / "mount"
        self._kept = folder / "kept"
        self.mount.mkdir(parents=True)
        self._kept.mkdir()

    def commit(self) -> None:
        shutil.copytree(self.mount, self._kept, dirs_exist_ok=True)

    def listdir(self, path: str) -> list[Entry]:
        folder = self._at(path)
        if not folder.is_dir():
            raise FileNotFoundError(path)
        return [Entry(str(child.relative_to(self._kept))) for child in folder.iterdir()]

    def read_file(self, path: str) -> Iterator[bytes]:
        place = self._at(path)
        if not place.is_file():
            raise FileNotFoundError(path)
        yield place.read_bytes()

    def remove_file(self, path: str, *, recursive: bool = False) -> None:
        place = self._at(path)
        if not place.exists():
            raise FileNotFoundError(path)
        shutil.rmtree(place) if recursive and place.is_dir() else place.unlink()

    def _at(self, path: str) -> Path:
        return self._kept / path.lstrip("/")
