"""Which failures are tried again, and when."""

import random
from dataclasses import dataclass
from datetime import timedelta

from service.domain.attempt import FailureKind

MAX_ATTEMPTS = 3
MAX_LOST = 2  # a job that takes two workers down with it is the poison, not the victim
MAX_LAPSED = 5  # starts of a job that no worker made good
MAX_RESTARTS = 2  # of one attempt: its container died at work, and the platform ran it again


@dataclass(frozen=True)
class Retry:
    """How often a kind of failure may be followed by another attempt, and after what wait."""

    limit: int
    first_wait: timedelta = timedelta(0)

    def wait(self, earlier: int) -> timedelta:
        """Doubles with every failure that came before, a fifth more or less: what failed together
        is not tried together."""
        jitter = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - not a secret
        return self.first_wait * (1 << earlier) * jitter


_JITTER = 0.2

RETRIES: dict[FailureKind, Retry] = {
    FailureKind.TRANSIENT: Retry(limit=MAX_ATTEMPTS - 1, first_wait=timedelta(seconds=5)),
    FailureKind.LOST: Retry(limit=MAX_LOST - 1),
}

# No wait is longer: a job that is to wait longer was put off by a clock that has been set back.
LONGEST_WAIT = timedelta(minutes=1)

# What a person may sensibly try again as a new job, unchanged.
RETRYABLE = frozenset(
    {FailureKind.TRANSIENT, FailureKind.LOST, FailureKind.TIMEOUT, FailureKind.INTERNAL}
)


def retry_wait(kind: FailureKind, *, left: int, earlier: int) -> timedelta | None:
    """How long to wait before the next attempt, or None when there is to be none.

    `left` is how many attempts the job still has; `earlier` counts those that ended with the same
    kind before this one.
    """
    retry = RETRIES.get(kind)
    if retry is None or left <= 0 or earlier >= retry.limit:
        return None
    return retry.wait(earlier)
