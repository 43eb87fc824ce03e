"""Ports of the offsite storage."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

Quiet = Callable[[], AbstractContextManager[Any]]  # yields the driver's connection


class BlobStore(Protocol):
    """Stores whole files offsite, under names such as `00000001-000002/000003-….wal`. After
    Unavailable, which every method may raise, the request may have been carried out."""

    def names(self) -> list[str]:
        """List all files, whoever put them; may include folders."""
        ...

    def put(self, name: str, content: bytes) -> None:
        """Store a file atomically; it is durable when this returns."""
        ...

    def get(self, name: str) -> bytes | None:
        """Return the file, or None if there is none."""
        ...

    def delete(self, prefix: str) -> None:
        """Remove the folder `prefix`, if there is one."""
        ...


Entry = dict[str, Any]


class KeyValue(Protocol):
    """A small, linearizable store shared by all containers. Every method may raise Unavailable."""

    def create(self, name: str, entry: Entry) -> bool:
        """Create an entry if it does not exist; only one of several callers gets True."""
        ...

    def read(self, name: str) -> Entry | None: ...

    def write(self, name: str, entry: Entry) -> None: ...
