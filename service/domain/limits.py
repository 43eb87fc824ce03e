"""The bounds a service keeps: how much is taken in, how long anything may take."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Limits:
    """What jobs are bounded by; the roots fill it from the settings."""

    max_queued_per_key: int = 1_000
    max_active_per_key: int = 1_000  # starting or running at the same time
    max_inline_bytes: int = 20_000_000  # of an MP4 inside a JSON answer, before base64
    max_wait: timedelta = timedelta(seconds=60)
    max_waits: int = 1_000  # requests that are held until their job is final
    default_timeout: timedelta = timedelta(minutes=30)  # of one attempt
    longest_timeout: timedelta = timedelta(days=1)  # the same, where a request names it
    keep_idempotency: timedelta = timedelta(hours=24)

    # How long a worker may stay silent before its job is given to another.
    starting_lease: timedelta = timedelta(seconds=30)  # claimed, `begin` not yet called
    running_lease: timedelta = timedelta(seconds=30)

    @property
    def longest_lease(self) -> timedelta:
        return max(self.starting_lease, self.running_lease)
