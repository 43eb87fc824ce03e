"""Artifacts on a Modal Volume: clips are written where it is mounted, what jobs begin with where
it is not; each is read by the other side. A Volume that does not answer is Unavailable."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from service.artifacts.files import Files
from service.artifacts.spool import Spool
from service.domain.artifact import Artifact
from service.domain.errors import Unavailable
from service.domain.ports import ReadMethod


class MountedVolume(Files):
    """For a worker, which has the Volume at `root`. What it changes is committed before a method
    returns. What another container has committed since this one started is there after a reload,
    which needs that no file of the Volume is open."""

    def __init__(self, root: Path, volume: Any) -> None:
        super().__init__(root)
        self._volume = volume

    def put(self, key: str, source: Path, media_type: str) -> Artifact:
        artifact = super().put(key, source, media_type)
        self._commit()
        return artifact

    def copy(self, key: str, target: str) -> bool:
        copied = super().copy(key, target)
        self._commit()
        return copied

    def path(self, key: str) -> Path | None:
        found = super().path(key)
        if found is None:
            self._reload()
            found = super().path(key)
        return found

    def children(self, prefix: str) -> list[str]:
        self._reload()
        return super().children(prefix)

    def delete(self, prefix: str) -> None:
        super().delete(prefix)
        self._commit()

    def _commit(self) -> None:
        with _modal():
            self._volume.commit()

    def _reload(self) -> None:
        with _modal():
            self._volume.reload()


class RemoteVolume:
    """For the API: it reads and writes through Modal's interface and mounts nothing.

    A mounted Volume shows other containers' commits only after a reload, during which it looks
    empty to everybody.
    """

    def __init__(self, volume: Any, spool: Spool) -> None:
        self._volume = volume
        self._spool = spool

    def put(self, key: str, source: Path, media_type: str) -> Artifact:
        """Durable when it returns: an upload is committed as a whole."""
        with source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = source.stat().st_size
        with _modal(), self._volume.batch_upload(force=True) as batch:
            batch.put_file(str(source), f"/{key}")
        source.unlink()
        return Artifact(key=key, media_type=media_type, size_bytes=size_bytes, sha256=sha256)

    def copy(self, key: str, target: str) -> bool:
        source = self.path(key)
        if source is None:
            return False
        with _modal(), self._volume.batch_upload(force=True) as batch:
            batch.put_file(str(source), f"/{target}")
        return True

    def path(self, key: str) -> Path | None:
        return self._spool.get(key, lambda place: self._fetch(key, place))

    def link(
        self, key: str, *, filename: str, lifetime: timedelta, method: ReadMethod = "GET"
    ) -> str | None:
        return None

    def children(self, prefix: str) -> list[str]:
        with _modal(), suppress(*_missing()):
            return sorted(Path(entry.path).name for entry in self._volume.listdir(f"/{prefix}"))
        return []

    def delete(self, prefix: str) -> None:
        self._spool.forget(prefix)
        with _modal(), suppress(*_missing()):
            self._volume.remove_file(f"/{prefix}", recursive=True)

    def _fetch(self, key: str, place: Path) -> bool:
        with _modal(), suppress(*_missing()):
            with place.open("wb") as file:
                for chunk in self._volume.read_file(key):
                    file.write(chunk)
            return True
        return False


@contextmanager
def _modal() -> Iterator[None]:
    """Modal has no one class for all that goes wrong on the way to it."""
    try:
        yield
    except Exception as error:
        raise Unavailable(f"the Volume does not answer: {error!r}") from error


def _missing() -> tuple[type[Exception], ...]:
    """Modal says it in more than one way."""
    from modal.exception import NotFoundError

    return FileNotFoundError, NotFoundError
