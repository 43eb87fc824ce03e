"""Artifact store in a local folder: durable when put, never outside the folder."""

import errno
import os
import shutil
from datetime import timedelta
from pathlib import Path

from service.domain.attempt import Artifact, ReadMethod
from service.domain.errors import StorageFull


class Files:
    """An ArtifactStore in the folder `root`, which is created by the first artifact."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def put(self, key: str, source: Path, media_type: str) -> Artifact:
        """Move `source` to `key` atomically, also across a power failure. Raises StorageFull."""
        target = self._path(key)
        part = target.with_name(f".{target.name}.part")
        try:
            _make_folder(target.parent)
            shutil.move(source, part)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                part.unlink(missing_ok=True)
                raise StorageFull("no space left for another video") from error
            raise
        artifact = Artifact.of_file(key, part, media_type)
        _sync(part)
        part.replace(target)
        _sync(target.parent)
        return artifact

    def copy(self, key: str, target: str) -> bool:
        """Create a hard link, which takes no space, or a copy where links are not supported."""
        source, destination = self._path(key), self._path(target)
        if not source.is_file():
            return False
        _make_folder(destination.parent)
        part = destination.with_name(f".{destination.name}.part")
        part.unlink(missing_ok=True)
        try:
            _link(source, part)
        except FileNotFoundError:
            return False  # deleted concurrently
        part.replace(destination)
        _sync(destination.parent)
        return True

    def path(self, key: str) -> Path | None:
        path = self._path(key)
        return path if path.is_file() else None

    def link(
        self, key: str, *, filename: str, lifetime: timedelta, method: ReadMethod = "GET"
    ) -> str | None:
        return None

    def children(self, prefix: str) -> list[str]:
        path = self._path(prefix)
        return sorted(child.name for child in path.iterdir()) if path.is_dir() else []

    def delete(self, prefix: str) -> None:
        path = self._path(prefix)
        if path.is_dir():
            shutil.rmtree(path, onerror=_ignore_missing)
        else:
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = (self._root / key).resolve()
        if path == self._root or not path.is_relative_to(self._root):
            raise ValueError(f"not an artifact key: {key!r}")
        return path


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links, e.g. many network shares
        shutil.copyfile(source, target)
        _sync(target)


def _make_folder(folder: Path) -> None:
    """Create a folder durably: sync the parent of each new folder, which has its entry."""
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in new_folders:
        _sync(path.parent)


def _sync(path: Path) -> None:
    """Sync a file, or a folder: a rename is durable only after that."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _ignore_missing(
    _function: object, _path: object, failure: tuple[object, BaseException, object]
) -> None:
    """Ignore files that a concurrent delete removed first."""
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]
