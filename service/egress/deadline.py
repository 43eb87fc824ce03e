"""One deadline for a whole call, and the error for every failure of the network or target."""

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
    """The network or the target failed. Contains nothing that the target sent.

    `reason`: timeout (the deadline passed), dns (no such name, or no address), resolver (the
    resolver failed, so the name may exist), connect (refused or unreachable), tls (no trusted
    certificate for that name), protocol (not HTTP, or cut off), status (see `status`), too_large,
    redirects (too many). `broke_off`: the target closed the connection early (tls, protocol).
    """

    def __init__(
        self, reason: Reason, status: int | None = None, *, broke_off: bool = False
    ) -> None:
        super().__init__(reason if status is None else f"{reason} {status}")
        self.reason = reason
        self.status = status
        self.broke_off = broke_off


class Deadline:
    """A deadline that starts when it is created."""

    def __init__(self, timeout: timedelta) -> None:
        self._end = time.monotonic() + timeout.total_seconds()

    def remaining_seconds(self) -> float:
        """Return the time left, above 0. Raises TargetFailed once it is over."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TargetFailed("timeout")
        return seconds
