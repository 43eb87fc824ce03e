"""Limits of a service on queues, inputs and durations."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Limits:
    """Limits of jobs, filled from the settings."""

    max_queued_per_key: int = 1_000
    max_active_per_key: int = 1_000  # starting or running at the same time
    max_input_bytes_per_key: int = 10_000_000_000  # stored inputs and avatars
    max_inline_bytes: int = 20_000_000  # of an MP4 inside a JSON answer, before base64
    # Common proxies time out after 60 s: a wait ends before.
    max_wait: timedelta = timedelta(seconds=55)
    max_waits: int = 1_000  # requests waiting for their job to become final
    max_streams: int = 1_000  # of events, open at the same time
    # Modal ends a request after 150 s, and other hosts do so soon after: a stream ends before.
    max_stream: timedelta = timedelta(seconds=140)
    default_timeout: timedelta = timedelta(minutes=30)  # of one attempt
    max_timeout: timedelta = timedelta(days=1)  # the highest that a request may set
    keep_idempotency: timedelta = timedelta(hours=24)

    # How long a worker may be silent before its job goes to another.
    starting_lease: timedelta = timedelta(seconds=30)  # claimed, `begin` not yet called
    running_lease: timedelta = timedelta(seconds=30)

    @property
    def max_lease(self) -> timedelta:
        return max(self.starting_lease, self.running_lease)


MAX_OPEN_FILES = 65_536  # if the system sets no limit
_MAX_CONNECTIONS = 4_096  # each takes about 100 KB; the limit of files may be a million
_OTHER_FILES = 256  # the database and its connections, webhooks, request bodies


def max_connections(open_files: int) -> int:
    """Return how many connections fit into a limit of open files, as each may also send a file."""
    return max(16, min(_MAX_CONNECTIONS, (open_files - _OTHER_FILES) // 2))


def max_waits(open_files: int) -> int:
    """Return how many requests may wait at the same time, leaving connections for others."""
    return min(1_000, max_connections(open_files) * 6 // 10)


def max_streams(open_files: int) -> int:
    """Return how many event streams may be open beside these."""
    return max_connections(open_files) // 4
