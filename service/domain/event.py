"""What is told to others: the kinds of events, and one event owed to one URL."""

from typing import Literal

TEST_EVENT = "webhook.test"


# What can be subscribed to; `webhook.test` besides is sent only when asked for.
EventKind = Literal[
    "job.started",
    "job.progress",
    "job.succeeded",
    "job.failed",
    "job.canceled",
    "job.expired",
]


DEFAULT_EVENTS: tuple[EventKind, ...] = (
    "job.succeeded",
    "job.failed",
    "job.canceled",
    "job.expired",
)
