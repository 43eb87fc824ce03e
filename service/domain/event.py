"""The kinds of events that webhooks deliver."""

from typing import Literal

TEST_EVENT = "webhook.test"


# Events to subscribe to; `webhook.test` is sent only on request.
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
