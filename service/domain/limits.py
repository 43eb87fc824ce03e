"""The bounds a service keeps: how much is taken in, how long anything may take."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Limits:
    """What jobs are bounded by; the roots fill it from the settings."""

    max_queued_per_key: int = 1_000
    max_active_per_key: int = 1_000  # starting or running at the same time
    max_input_bytes_per_key: int = 10_000_000_000  # kept of images and videos that came in
    max_inline_bytes: int = 20_000_000  # of an MP4 inside a JSON answer, before base64
    # Common proxies give up at 60 s, on the service too: a wait is over before.
    max_wait: timedelta = timedelta(seconds=55)
    max_waits: int = 1_000  # requests that are held until their job is final
    default_timeout: timedelta = timedelta(minutes=30)  # of one attempt
    max_timeout: timedelta = timedelta(days=1)  # the same, where a request names it
    keep_idempotency: timedelta = timedelta(hours=24)

    # How long a worker may stay silent before its job is given to another.
    starting_lease: timedelta = timedelta(seconds=30)  # claimed, `begin` not yet called
    running_lease: timedelta = timedelta(seconds=30)

    @property
    def max_lease(self) -> timedelta:
        return max(self.starting_lease, self.running_lease)


MAX_OPEN_FILES = 65_536  # where the system names no limit
_MAX_CONNECTIONS = 4_096  # each may hold some 100 KB: the limit of files may be a million
_OTHER_FILES = 256  # the database, a thread's connections to it, webhooks, bodies that come in


def max_connections(open_files: int) -> int:
    """How many connections a process may hold open that may open so many files: each may have one
    more file open, which it sends."""
    return max(16, min(_MAX_CONNECTIONS, (open_files - _OTHER_FILES) // 2))


def max_waits(open_files: int) -> int:
    """How many requests may be held at the same time, so that others find a connection."""
    return min(1_000, max_connections(open_files) * 6 // 10)
