"""Artifacts as files in a folder: durable when put, never outside the folder."""

import errno
import hashlib
import os
import shutil
from datetime import timedelta
from pathlib import Path

from service.domain.artifact import Artifact
from service.domain.errors import StorageFull
from service.domain.ports import ReadMethod


class Files:
    """An ArtifactStore over `root`; the folder is made when the first artifact comes."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def put(self, key: str, source: Path, media_type: str) -> Artifact:
        """Move `source` to `key`. Readers see all of it or nothing, a power cut included.

        Raises StorageFull.
        """
        target = self._place(key)
        part = target.with_name(f".{target.name}.part")
        try:
            _make_folder(target.parent)
            shutil.move(source, part)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                part.unlink(missing_ok=True)
                raise StorageFull("no room for another clip") from error
            raise
        with part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        part.replace(target)
        _sync_folder(target.parent)
        return Artifact(
            key=key, media_type=media_type, size_bytes=target.stat().st_size, sha256=sha256
        )

    def copy(self, key: str, target: str) -> bool:
        """Another name for the same file where the disk knows such, which costs no room."""
        source, place = self._place(key), self._place(target)
        if not source.is_file():
            return False
        _make_folder(place.parent)
        part = place.with_name(f".{place.name}.part")
        part.unlink(missing_ok=True)
        try:
            _link(source, part)
        except FileNotFoundError:
            return False  # deleted at this very moment
        part.replace(place)
        _sync_folder(place.parent)
        return True

    def path(self, key: str) -> Path | None:
        place = self._place(key)
        return place if place.is_file() else None

    def link(
        self, key: str, *, filename: str, lifetime: timedelta, method: ReadMethod = "GET"
    ) -> str | None:
        return None

    def children(self, prefix: str) -> list[str]:
        place = self._place(prefix)
        return sorted(child.name for child in place.iterdir()) if place.is_dir() else []

    def delete(self, prefix: str) -> None:
        place = self._place(prefix)
        if place.is_dir():
            shutil.rmtree(place, onerror=_gone_is_fine)
        else:
            place.unlink(missing_ok=True)

    def _place(self, key: str) -> Path:
        place = (self._root / key).resolve()
        if place == self._root or not place.is_relative_to(self._root):
            raise ValueError(f"not an artifact key: {key!r}")
        return place


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a disk without such links, as many shared folders are
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())


def _make_folder(folder: Path) -> None:
    """Durable, with all above it that are new: the name of each is in the one above."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in new:
        _sync_folder(each.parent)


def _sync_folder(folder: Path) -> None:
    """A rename is durable only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _gone_is_fine(
    _function: object, _path: object, failure: tuple[object, BaseException, object]
) -> None:
    """Another delete of the same folder was quicker."""
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]
