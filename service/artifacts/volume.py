"""Artifact stores on a Modal Volume: mounted for workers, which write videos, and remote for the
API, which writes inputs. Both raise Unavailable when the Volume does not answer."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from service.artifacts.files import Files
from service.artifacts.spool import Spool
from service.domain.attempt import Artifact, ReadMethod
from service.domain.errors import Unavailable


class MountedVolume(Files):
    """The worker's store, mounted at `root`. Methods commit changes before they return. Commits of
    other containers become visible by a reload, which fails while a file of the Volume is open."""

    def __init__(self, root: Path, volume: Any) -> None:
        super().__init__(root)
        self._volume = volume

    def put(self, key: str, source: Path, media_type: str) -> Artifact:
        artifact = super().put(key, source, media_type)
        self._commit()
        return artifact

    def copy(self, key: str, target: str) -> bool:
        exists = super().copy(key, target)
        self._commit()
        return exists

    def path(self, key: str) -> Path | None:
        path = super().path(key)
        if path is None:
            self._reload()
            path = super().path(key)
        return path

    def children(self, prefix: str) -> list[str]:
        self._reload()
        return super().children(prefix)

    def delete(self, prefix: str) -> None:
        super().delete(prefix)
        self._commit()

    def _commit(self) -> None:
        with _raise_unavailable():
            self._volume.commit()

    def _reload(self) -> None:
        with _raise_unavailable():
            self._volume.reload()


class RemoteVolume:
    """The API's store, which uses Modal's client and mounts nothing.

    A mounted Volume shows other containers' commits only after a reload, during which it appears
    empty.
    """

    def __init__(self, volume: Any, spool: Spool) -> None:
        self._volume = volume
        self._spool = spool

    def put(self, key: str, source: Path, media_type: str) -> Artifact:
        """Upload `source`; durable on return, as an upload is committed as a whole."""
        artifact = Artifact.of_file(key, source, media_type)
        with _raise_unavailable(), self._volume.batch_upload(force=True) as batch:
            batch.put_file(str(source), f"/{key}")
        source.unlink()
        return artifact

    def copy(self, key: str, target: str) -> bool:
        source = self.path(key)
        if source is None:
            return False
        with _raise_unavailable(), self._volume.batch_upload(force=True) as batch:
            batch.put_file(str(source), f"/{target}")
        return True

    def path(self, key: str) -> Path | None:
        return self._spool.get(key, lambda file: self._fetch(key, file))

    def link(
        self, key: str, *, filename: str, lifetime: timedelta, method: ReadMethod = "GET"
    ) -> str | None:
        return None

    def children(self, prefix: str) -> list[str]:
        with _raise_unavailable(), suppress(*_not_found_errors()):
            return sorted(Path(entry.path).name for entry in self._volume.listdir(f"/{prefix}"))
        return []

    def delete(self, prefix: str) -> None:
        self._spool.forget(prefix)
        with _raise_unavailable(), suppress(*_not_found_errors()):
            self._volume.remove_file(f"/{prefix}", recursive=True)

    def _fetch(self, key: str, file: Path) -> bool:
        with _raise_unavailable(), suppress(*_not_found_errors()):
            with file.open("wb") as stream:
                for chunk in self._volume.read_file(key):
                    stream.write(chunk)
            return True
        return False


@contextmanager
def _raise_unavailable() -> Iterator[None]:
    """Turn every exception into Unavailable: Modal's have no common base class."""
    try:
        yield
    except Exception as error:
        raise Unavailable(f"the Volume does not answer: {error!r}") from error


def _not_found_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that Modal raises for a missing file."""
    from modal.exception import NotFoundError

    return FileNotFoundError, NotFoundError
