"""Local copies of bytes that lie elsewhere, for whoever needs a file: players want ranges."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

Fetch = Callable[[Path], bool]


class Spool:
    """Keeps what was fetched, up to `max_bytes`; what nobody wanted for longest goes first."""

    def __init__(self, folder: Path, max_bytes: int = 2_000_000_000) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._locks: dict[str, threading.Lock] = {}
        self._door = threading.Lock()

    def get(self, key: str, fetch: Fetch) -> Path | None:
        """The copy, fetched once however many ask at once. None where `fetch` finds nothing.

        `fetch` writes to the file that it is given and says whether there was anything.
        """
        place = self._folder / key.replace("/", "_")  # keys are built from ids, see ArtifactStore
        with self._door:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            try:
                if not _touched(place) and not self._fetch(place, fetch):
                    return None
            finally:
                with self._door:
                    self._locks.pop(key, None)
        self._make_room(place)
        return place

    def forget(self, prefix: str) -> None:
        """Whatever was fetched from below `prefix`."""
        for copy in self._copies():
            if copy.name.startswith(prefix.replace("/", "_")):
                copy.unlink(missing_ok=True)

    def _fetch(self, place: Path, fetch: Fetch) -> bool:
        place.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=place.parent, prefix=".part-", delete=False) as scratch:
            part = Path(scratch.name)
        try:
            if not fetch(part):
                return False
            part.replace(place)
            return True
        finally:
            part.unlink(missing_ok=True)

    def _copies(self) -> list[Path]:
        return list(self._folder.glob("[!.]*")) if self._folder.is_dir() else []

    def _make_room(self, wanted: Path) -> None:
        """A copy that is being sent goes on being sent: its file is only unlinked."""
        copies = []
        for copy in self._copies():
            with suppress(FileNotFoundError):  # another thread makes room as well
                copies.append((copy.stat(), copy))
        total = sum(stat.st_size for stat, _ in copies)
        for stat, copy in sorted(copies, key=lambda found: found[0].st_mtime):
            if total <= self._max_bytes or copy == wanted:
                return
            copy.unlink(missing_ok=True)
            total -= stat.st_size


def _touched(place: Path) -> bool:
    """Whether it is there; it is then the last one to go."""
    try:
        os.utime(place)
    except FileNotFoundError:
        return False
    return True
