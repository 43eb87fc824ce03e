"""Limit how often an address may fail to log in."""

import time
from collections import defaultdict, deque

from service.domain.errors import RateLimited

_MAX_FAILURES, _SECONDS = 10, 60.0
_MAX_ADDRESSES = 10_000


class LoginLimit:
    """Failed logins of the last minute, by address; of this process."""

    def __init__(self) -> None:
        self._failures: defaultdict[str, deque[float]] = defaultdict(deque)

    def check(self, address: str) -> None:
        """Raise RateLimited after ten failures within a minute."""
        failures, now = self._failures.get(address), time.monotonic()
        while failures and failures[0] < now - _SECONDS:
            failures.popleft()
        if failures and len(failures) >= _MAX_FAILURES:
            seconds = round(failures[0] + _SECONDS - now) + 1
            raise RateLimited(
                f"too many failed logins; wait {seconds} s", retry_after_seconds=seconds
            )

    def record_failure(self, address: str) -> None:
        if len(self._failures) >= _MAX_ADDRESSES:
            self._failures.clear()
        self._failures[address].append(time.monotonic())
