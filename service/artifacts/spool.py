"""A disk cache of remote artifacts: serving byte ranges needs a local file."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

Fetch = Callable[[Path], bool]


class Spool:
    """An LRU cache of fetched files in `folder`, of at most `max_bytes`."""

    def __init__(self, folder: Path, max_bytes: int = 2_000_000_000) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._locks: dict[str, threading.Lock] = {}
        self._registry_lock = threading.Lock()

    def get(self, key: str, fetch: Fetch) -> Path | None:
        """Return the cached file; concurrent calls fetch it once. None if it does not exist.

        `fetch` writes to the given path and returns False if there is no such artifact.
        """
        file = self._folder / key.replace("/", "_")  # keys are built from ids, see ArtifactStore
        with self._registry_lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            try:
                if not _touch(file) and not self._fetch(file, fetch):
                    return None
            finally:
                with self._registry_lock:
                    self._locks.pop(key, None)
        self._evict(file)
        return file

    def forget(self, prefix: str) -> None:
        """Delete the cached files below `prefix`."""
        for copy in self._copies():
            if copy.name.startswith(prefix.replace("/", "_")):
                copy.unlink(missing_ok=True)

    def _fetch(self, file: Path, fetch: Fetch) -> bool:
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=file.parent, prefix=".part-", delete=False) as scratch:
            part = Path(scratch.name)
        try:
            if not fetch(part):
                return False
            part.replace(file)
            return True
        finally:
            part.unlink(missing_ok=True)

    def _copies(self) -> list[Path]:
        return list(self._folder.glob("[!.]*")) if self._folder.is_dir() else []

    def _evict(self, newest: Path) -> None:
        """Unlink the least recently used files; open ones remain readable."""
        copies = []
        for copy in self._copies():
            with suppress(FileNotFoundError):  # another thread evicts as well
                copies.append((copy.stat(), copy))
        total = sum(stat.st_size for stat, _ in copies)
        for stat, copy in sorted(copies, key=lambda entry: entry[0].st_mtime):
            if total <= self._max_bytes or copy == newest:
                return
            copy.unlink(missing_ok=True)
            total -= stat.st_size


def _touch(file: Path) -> bool:
    """Mark a file as most recently used; return False if it does not exist."""
    try:
        os.utime(file)
    except FileNotFoundError:
        return False
    return True
