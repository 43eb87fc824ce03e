"""Protocols that infrastructure implements."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from service.domain.artifact import Artifact
from service.domain.attempt import Ticket
from service.domain.call import CallStatus, Pool


class Clock(Protocol):
    """Returns the present time; tests pass one that they can move."""

    def __call__(self) -> datetime: ...


def utc_now() -> datetime:
    return datetime.now(UTC)


class Dispatcher(Protocol):
    """Starts workers by calls to a platform, and polls the calls."""

    def send(self, ticket: Ticket) -> str:
        """Start a call and return its id. Raises Unavailable; it may have started all the same."""
        ...

    def status(self, call_id: str) -> CallStatus:
        """Poll a call. Raises Unavailable if the platform does not answer."""
        ...

    def cancel(self, call_id: str) -> None:
        """Stop a call if possible; never raises."""
        ...

    def pool(self, model: str) -> Pool:
        """Count a model's containers and calls. Raises Unavailable."""
        ...

    def kept_warm(self, model: str) -> int:
        """Return how many containers of a model are kept warm. Raises Unavailable."""
        ...

    def keep_warm(self, model: str, containers: int) -> None:
        """Keep so many containers warm, until the next deploy. Raises Unavailable."""
        ...


ReadMethod = Literal["GET", "HEAD"]


class ArtifactStore(Protocol):
    """Stores outputs under keys such as `jobs/<job>/<fence>-<salt>/video.mp4`, and inputs under
    `inputs/<job>/image`.

    Keys are built from ids, never from user input. Attempts do not overwrite each other's keys,
    which contain their folder. A remote store raises Unavailable from every method but `link` when
    it cannot be reached.
    """

    def put(self, key: str, source: Path, media_type: str) -> Artifact:
        """Move the file at `source` into the store, durably."""
        ...

    def copy(self, key: str, target: str) -> bool:
        """Copy `key` to `target`, durably; False if `key` does not exist."""
        ...

    def path(self, key: str) -> Path | None:
        """Return a local file with the bytes, downloaded if need be; None if there are none."""
        ...

    def link(
        self, key: str, *, filename: str, lifetime: timedelta, method: ReadMethod = "GET"
    ) -> str | None:
        """Return a presigned URL, or None if the store has none. The key may not exist."""
        ...

    def children(self, prefix: str) -> list[str]:
        """List the names directly below `prefix`, sorted."""
        ...

    def delete(self, prefix: str) -> None:
        """Delete every key below `prefix`, if any."""
        ...


Quiet = Callable[[], AbstractContextManager[Any]]


class Offsite(Protocol):
    """Remote copy of a local database, whose single owner is this process."""

    def ship(self, quiet: Quiet) -> None:
        """Upload what was committed before this call. `quiet` yields the driver's connection while
        nothing is written. Raises Unavailable unless all is uploaded and still owned."""
        ...

    def check_owner(self) -> None:
        """Raise Unavailable unless this process may write."""
        ...

    def check_reader(self) -> None:
        """Raise Unavailable unless local commits may be read."""
        ...

    def commit_failed(self) -> None:
        """A commit failed, and what it left behind is not known; said while nobody writes."""
        ...
