"""A Modal Volume as far as the artifacts use one: a folder. The real one runs in tests/modal."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    path: str


@dataclass(frozen=True)
class Upload:
    """Nothing is there before all of it is."""

    files: dict[str, str]

    def put_file(self, source: str, path: str) -> None:
        self.files[path] = source


class FolderVolume:
    """What is written at `mount` is seen by the others after a commit, as on a Volume."""

    def __init__(self, folder: Path) -> None:
        self.mount = folder / "mount"
        self._kept = folder / "kept"
        self.mount.mkdir(parents=True)
        self._kept.mkdir()
        self._seen: set[Path] = set()  # at `mount`, by the last commit or reload

    def commit(self) -> None:
        there = _files(self.mount)
        for gone in self._seen - there:
            (self._kept / gone).unlink(missing_ok=True)
        shutil.copytree(self.mount, self._kept, dirs_exist_ok=True)
        self._seen = there

    def reload(self) -> None:
        shutil.rmtree(self.mount)
        shutil.copytree(self._kept, self.mount)
        self._seen = _files(self.mount)

    @contextmanager
    def batch_upload(self, force: bool = False) -> Iterator["Upload"]:
        upload = Upload({})
        yield upload
        for path, source in upload.files.items():
            place = self._at(path)
            assert force or not place.exists()
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)

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


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
