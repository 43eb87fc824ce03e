"""One deadline for a whole call, and the error for all that may go wrong out there."""

import time
from datetime import timedelta
from typing import Literal

Reason = Literal[
    "timeout",
    "dns",
    "resolver",
    "connect",
    "tls",
    "protocol",
    "status",
    "too_large",
    "redirects",
]


class TargetFailed(Exception):
    """The network or the other side failed. Nothing that the other side sent is in here.

    `reason`: timeout (the deadline passed, whatever we were at), dns (no such name, or it has no
    address), resolver (whether there is such a name cannot be told just now), connect (nobody
    listens), tls (no trusted certificate for that name), protocol (not HTTP, or broken off), status
    (see `status`), too_large, redirects (too many). `broke_off`: the other side ended a connection
    in the middle of it (tls, protocol).
    """

    def __init__(
        self, reason: Reason, status: int | None = None, *, broke_off: bool = False
    ) -> None:
        super().__init__(reason if status is None else f"{reason} {status}")
        self.reason = reason
        self.status = status
        self.broke_off = broke_off


class Deadline:
    """Starts when it is made."""

    def __init__(self, timeout: timedelta) -> None:
        self._start = time.monotonic()
        self._seconds = timeout.total_seconds()

    def spent(self) -> float:
        return time.monotonic() - self._start

    def left(self) -> float:
        """Seconds, always more than none: TargetFailed is raised instead."""
        left = self._seconds - self.spent()
        if left <= 0:
            raise TargetFailed("timeout")
        return left
