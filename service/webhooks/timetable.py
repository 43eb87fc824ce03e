"""Retry schedule of deliveries."""

import random
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

# The waits after each try: the example of Standard Webhooks, 75 hours in all.
WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
MAX_TRIES = len(WAITS) + 1
_JITTER = 0.2  # up or down, so that receivers that failed together are not retried together
_MAX_RETRY_AFTER = timedelta(hours=24)


def next_try(attempt: int, now: datetime, retry_after: str | None) -> datetime | None:
    """Return when to retry after the failed try number `attempt`; None after the last.

    A receiver's Retry-After may extend the wait, up to a day, but not shorten it.
    """
    if attempt >= MAX_TRIES:
        return None
    wait = WAITS[attempt - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
    return now + max(wait, min(_parse_retry_after(retry_after, now), _MAX_RETRY_AFTER))


def _parse_retry_after(retry_after: str | None, now: datetime) -> timedelta:
    """Parse seconds or a date (RFC 9110); zero for anything else."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return timedelta(seconds=int(text))
    try:
        return parsedate_to_datetime(text) - now
    except (TypeError, ValueError, OverflowError):
        return timedelta(0)
