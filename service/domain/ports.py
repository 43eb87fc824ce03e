"""What the floors below are asked to provide, as Protocols."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from service.domain.artifact import Artifact
from service.domain.attempt import Ticket
from service.domain.call import Look, Pool


class Clock(Protocol):
    """Where the time comes from; tests hand in one that they can move."""

    def __call__(self) -> datetime: ...


def utc_now() -> datetime:
    return datetime.now(UTC)


class Dispatcher(Protocol):
    """Hands tickets to workers that do not ask for work, and asks how they got on."""

    def send(self, ticket: Ticket) -> str:
        """Start a call; its id. Raises Unavailable, and then perhaps it was started."""
        ...

    def look(self, call_id: str) -> Look:
        """How a call stands. Raises Unavailable when it cannot be asked."""
        ...

    def cancel(self, call_id: str) -> None:
        """Stop a call, if that can be done; never raises."""
        ...

    def pool(self, model: str) -> Pool:
        """What there is of a model's workers. Raises Unavailable when nobody can say."""
        ...

    def kept_warm(self, model: str) -> int:
        """How many workers of a model are kept, work or not. Raises Unavailable as `pool` does."""
        ...

    def keep_warm(self, model: str, containers: int) -> None:
        """Keep that many, until something is deployed anew. Raises Unavailable as `pool` does."""
        ...


ReadMethod = Literal["GET", "HEAD"]


class ArtifactStore(Protocol):
    """Keeps finished bytes under a key such as `jobs/<job>/<fence>-<salt>/video.mp4`, and those
    that a job begins with under `inputs/<job>/image`.

    Keys are built from ids, never from what a user wrote. A key once put is never overwritten by
    another attempt, because its folder is part of it. One that is elsewhere raises Unavailable from
    every method but `link` when it cannot be reached.
    """

    def put(self, key: str, source: Path, media_type: str) -> Artifact:
        """Take over the file at `source`. Durable when it returns."""
        ...

    def copy(self, key: str, target: str) -> bool:
        """The same bytes under `target` as well, durable; False when there are none under `key`."""
        ...

    def path(self, key: str) -> Path | None:
        """A local file with these bytes, fetched if need be; None when there are none."""
        ...

    def link(
        self, key: str, *, filename: str, lifetime: timedelta, method: ReadMethod = "GET"
    ) -> str | None:
        """A URL at which these bytes can be had without us, or None where there is no such thing.

        Whether there are any under this key is not asked.
        """
        ...

    def children(self, prefix: str) -> list[str]:
        """The names directly below `prefix`, in order; none where there is nothing."""
        ...

    def delete(self, prefix: str) -> None:
        """Remove every key below `prefix`; no error when there are none."""
        ...


Quiet = Callable[[], AbstractContextManager[Any]]


class Offsite(Protocol):
    """A second place for a local database, whose one owner this process is."""

    def ship(self, quiet: Quiet) -> None:
        """Bring there what was committed before this call. `quiet` gives the driver's writing
        connection while nobody writes. Raises Unavailable unless all of it is there, and ours."""
        ...

    def check_owner(self) -> None:
        """Raise Unavailable unless this process may write."""
        ...

    def check_reader(self) -> None:
        """Raise Unavailable unless what is committed here may be shown."""
        ...

    def commit_failed(self) -> None:
        """A commit failed, and what it left behind is not known; said while nobody writes."""
        ...
