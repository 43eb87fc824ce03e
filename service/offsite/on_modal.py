"""The shelf is a Modal Volume, the register a Modal Dict; neither is mounted."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from service.domain.errors import Unavailable
from service.offsite.ports import Entry


class VolumeBlobStore:
    """Through the Volume's own interface: what is put is there for all when the call returns, which
    a mounted Volume promises only after a commit here and a reload there."""

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
    """Entries that nobody reads or writes for seven days are forgotten by Modal; epochs are also
    known by what was put on the shelf."""

    def __init__(self, entries: Any) -> None:
        self._entries = entries

    def create(self, name: str, entry: Entry) -> bool:
        with _modal("the Dict"):
            return bool(self._entries.put(name, entry, skip_if_exists=True))

    def read(self, name: str) -> Entry | None:
        with _modal("the Dict"):
            found: Entry | None = self._entries.get(name)
            return found

    def write(self, name: str, entry: Entry) -> None:
        with _modal("the Dict"):
            self._entries.put(name, entry)


@contextmanager
def _modal(what: str) -> Iterator[None]:
    """Whatever goes wrong on the way to Modal says the same: nobody knows whether it was done."""
    try:
        yield
    except Exception as error:
        raise Unavailable(f"{what} of the database does not answer: {error!r}") from error


def _missing() -> tuple[type[Exception], ...]:
    """Modal says it in more than one way."""
    from modal.exception import NotFoundError

    return FileNotFoundError, NotFoundError
