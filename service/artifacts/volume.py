"""Artifacts on a Modal Volume: written where it is mounted, read from where it is not."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from service.artifacts.files import Files
from service.artifacts.spool import Spool
from service.domain.attempt import Artifact
from service.domain.ports import ReadMethod


class MountedVolume(Files):
    """For a worker, which has the Volume at `root`. What is put is committed before it returns."""

    def __init__(self, root: Path, volume: Any) -> None:
        super().__init__(root)
        self._volume = volume

    def put(self, key: str, source: Path, media_type: str) -> Artifact:
        artifact = super().put(key, source, media_type)
        self._volume.commit()
        return artifact


class RemoteVolume:
    """For the API: it reads through Modal's interface and mounts nothing. A mounted Volume shows
    other containers' commits only after a reload, during which it looks empty to everybody."""

    def __init__(self, volume: Any, spool: Spool) -> None:
        self._volume = volume
        self._spool = spool

    def put(self, key: str, source: Path, media_type: str) -> Artifact:
        raise NotImplementedError("workers write, where the Volume is mounted")

    def path(self, key: str) -> Path | None:
        return self._spool.get(key, lambda place: self._fetch(key, place))

    def link(
        self, key: str, *, filename: str, lifetime: timedelta, method: ReadMethod = "GET"
    ) -> str | None:
        return None

    def children(self, prefix: str) -> list[str]:
        try:
            return sorted(Path(entry.path).name for entry in self._volume.listdir(f"/{prefix}"))
        except _missing():
            return []

    def delete(self, prefix: str) -> None:
        self._spool.forget(prefix)
        with suppress(*_missing()):
            self._volume.remove_file(f"/{prefix}", recursive=True)

    def _fetch(self, key: str, place: Path) -> bool:
        try:
            with place.open("wb") as file:
                for chunk in self._volume.read_file(key):
                    file.write(chunk)
        except _missing():
            return False
        return True


def _missing() -> tuple[type[Exception], ...]:
    """Modal says it in more than one way."""
    from modal.exception import NotFoundError

    return FileNotFoundError, NotFoundError
