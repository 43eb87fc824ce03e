"""What a second place for the database must provide."""

from typing import Any, Protocol


class BlobStore(Protocol):
    """Keeps whole files away from this machine, under names such as `00000001-000002/000003-….wal`.
    Every method raises Unavailable when it cannot be reached, and then it may have acted."""

    def names(self) -> list[str]:
        """Of all files that are there by now, whoever put them; perhaps also of their folders."""
        ...

    def put(self, name: str, content: bytes) -> None:
        """Durable when it returns; it is never seen in part."""
        ...

    def get(self, name: str) -> bytes | None:
        """None when there is no such file."""
        ...

    def delete(self, prefix: str) -> None:
        """Remove the folder `prefix`; no error when there is none."""
        ...


Entry = dict[str, Any]


class KeyValue(Protocol):
    """A few small entries that all containers see alike: what one has written, the next read of
    another finds. Every method raises Unavailable when it cannot be reached."""

    def create(self, name: str, entry: Entry) -> bool:
        """Whether it was not there before. Of several that create it at once one is told True."""
        ...

    def read(self, name: str) -> Entry | None: ...

    def write(self, name: str, entry: Entry) -> None: ...
