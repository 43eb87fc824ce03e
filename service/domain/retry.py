"""Which failures are tried again, and when."""

from dataclasses import dataclass
from datetime import timedelta

from service.domain.attempt import FailureKind

MAX_ATTEMPTS = 3
MAX_LOST = 2  # a job that takes two workers down with it is the poison, not the victim


@dataclass(frozen=True)
class Retry:
    """How often a kind of failure may be followed by another attempt, and after what wait."""

    limit: int
    first_wait: timedelta = timedelta(0)

    def wait(self, attempt: int) -> timedelta:
        """Doubles with every attempt; `attempt` counts from 1."""
        return self.first_wait * (1 << (attempt - 1))


RETRIES: dict[FailureKind, Retry] = {
    FailureKind.TRANSIENT: Retry(limit=MAX_ATTEMPTS - 1, first_wait=timedelta(seconds=5)),
    FailureKind.LOST: Retry(limit=MAX_LOST - 1),
}

# What a person may sensibly try again as a new job, unchanged.
RETRYABLE = frozenset(
    {FailureKind.TRANSIENT, FailureKind.LOST, FailureKind.TIMEOUT, FailureKind.INTERNAL}
)


def retry_wait(kind: FailureKind, *, attempt: int, earlier: int) -> timedelta | None:
    """How long to wait before the next attempt, or None when there is to be none.

    `attempt` is the number of the failed attempt; `earlier` counts the attempts before it that
    ended with the same kind.
    """
    retry = RETRIES.get(kind)
    if retry is None or attempt >= MAX_ATTEMPTS or earlier >= retry.limit:
        return None
    return retry.wait(attempt)
