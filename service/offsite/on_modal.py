"""BlobStore on a Modal Volume and KeyValue on a Modal Dict; neither is mounted."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from service.domain.errors import Unavailable
from service.offsite.ports import Entry


class VolumeBlobStore:
    """Uses the Volume's client interface: a file is visible everywhere when `put` returns, while a
    mounted Volume needs a commit here and a reload there."""

    def __init__(self, volume: Any) -> None:
        self._volume = volume

    def names(self) -> list[str]:
        with _modal("the Volume"):
            entries = self._volume.listdir("/", recursive=True)
        return [entry.path.lstrip("/") for entry in entries]

    def put(self, name: str, content: bytes) -> None:
        with _modal("the Volume"), self._volume.batch_upload(force=True) as batch:
            batch.put_file(io.BytesIO(content), f"/{name}")

    def get(self, name: str) -> bytes | None:
        with _modal("the Volume"), suppress(*_missing()):
            return b"".join(self._volume.read_file(f"/{name}"))
        return None

    def delete(self, prefix: str) -> None:
        with _modal("the Volume"), suppress(*_missing()):
            self._volume.remove_file(f"/{prefix}", recursive=True)


class DictKeyValue:
    """A Modal Dict. It drops entries not used for a week; epochs are also in the blobs' names."""

    def __init__(self, entries: Any) -> None:
        self._entries = entries

    def create(self, name: str, entry: Entry) -> bool:
        with _modal("the Dict"):
            return bool(self._entries.put(name, entry, skip_if_exists=True))

    def read(self, name: str) -> Entry | None:
        with _modal("the Dict"):
            entry: Entry | None = self._entries.get(name)
            return entry

    def write(self, name: str, entry: Entry) -> None:
        with _modal("the Dict"):
            self._entries.put(name, entry)


@contextmanager
def _modal(what: str) -> Iterator[None]:
    """Turn every error into Unavailable: the request may or may not have been carried out."""
    try:
        yield
    except Exception as error:
        raise Unavailable(f"{what} of the database does not respond: {error!r}") from error


def _missing() -> tuple[type[Exception], ...]:
    """Return the errors by which Modal reports a missing object."""
    from modal.exception import NotFoundError

    return FileNotFoundError, NotFoundError
