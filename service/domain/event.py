"""Events of jobs, and their kinds, to which webhooks subscribe."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, NewType, get_args

from pydantic import Field

from service.domain.ids import JobId, KeyId

if TYPE_CHECKING:
    from service.domain.job import Job

EventId = NewType("EventId", int)  # rises in the order of commits

TEST_EVENT = "webhook.test"
PROGRESS_EVENT = "job.progress"
# Of streams alone, and never recorded: the job waits, for the first time or again.
QUEUED_EVENT = "job.queued"


# Events to subscribe to; `webhook.test` is sent only on request.
EventKind = Literal[
    "job.started",
    "job.progress",
    "job.succeeded",
    "job.failed",
    "job.canceled",
    "job.expired",
]
# What one subscription asks for.
EventKinds = Annotated[list[EventKind], Field(min_length=1, max_length=len(get_args(EventKind)))]


DEFAULT_EVENTS: tuple[EventKind, ...] = (
    "job.succeeded",
    "job.failed",
    "job.canceled",
    "job.expired",
)


@dataclass(frozen=True)
class Event:
    """An event of a key: `job` is a snapshot of what it happened to; None for `webhook.test`."""

    id: EventId
    key_id: KeyId
    kind: str
    created_at: datetime
    job_id: JobId | None = None
    job: "Job | None" = None
