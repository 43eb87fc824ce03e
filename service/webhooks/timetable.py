"""When a delivery is tried again."""

import random
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

# The example of Standard Webhooks, 75 hours in all: the wait after the first try, the second, …
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
_JITTER = 0.2  # up or down: receivers that failed together are not tried together
_MAX_WISH = timedelta(hours=24)


def next_try(attempt: int, now: datetime, retry_after: str | None) -> datetime | None:
    """When to try again after the failed try number `attempt`, or None when that was the last.

    A receiver may ask for a longer wait than the timetable's, up to a day, never for a shorter one.
    """
    if attempt >= MAX_TRIES:
        return None
    wait = WAITS[attempt - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
    return now + max(wait, min(_asked(retry_after, now), _MAX_WISH))


def _asked(retry_after: str | None, now: datetime) -> timedelta:
    """RFC 9110: seconds, or a date. What is neither asks for nothing."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return timedelta(seconds=int(text))
    try:
        return parsedate_to_datetime(text) - now
    except (TypeError, ValueError, OverflowError):
        return timedelta(0)
