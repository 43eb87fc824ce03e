"""Events of jobs, and webhooks, which tell of them: endpoints, deliveries and their tries."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal, NewType, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from service.domain.ids import EventId, JobId, KeyId, parse

if TYPE_CHECKING:
    from service.domain.job import Job


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


EndpointId = NewType("EndpointId", str)
DeliveryId = NewType("DeliveryId", str)


def endpoint_id_of(text: str) -> EndpointId:
    """Parse the id of an endpoint. Raises NotFound for a malformed one."""
    return EndpointId(parse("wep", "webhook endpoint", text))


def delivery_id_of(text: str) -> DeliveryId:
    """Parse the id of a delivery. Raises NotFound for a malformed one."""
    return DeliveryId(parse("msg", "webhook delivery", text))


class DeliveryState(StrEnum):
    """`dead`: every try failed. `disabled`: the endpoint is disabled or gone."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    DISABLED = "disabled"


# How long the previous secret still signs beside a new one.
OVERLAP = timedelta(hours=24)


@dataclass(frozen=True)
class Secrets:
    """Signing secrets: the present one and, for a day after a rotation, the previous one."""

    present: bytes
    old: bytes | None = None
    old_until: datetime | None = None

    @classmethod
    def new(cls) -> "Secrets":
        """Create a secret of 32 random bytes; Standard Webhooks requires 24 to 64."""
        return cls(secrets.token_bytes(32))

    def rotated(self, now: datetime) -> "Secrets":
        return Secrets(secrets.token_bytes(32), old=self.present, old_until=now + OVERLAP)

    def signing(self, now: datetime) -> list[bytes]:
        """Return the secrets that sign at this moment, the present one first."""
        if self.old is None or self.old_until is None or self.old_until <= now:
            return [self.present]
        return [self.present, self.old]


@dataclass(frozen=True)
class Endpoint:
    """A registered webhook URL and its events."""

    id: EndpointId
    key_id: KeyId
    url: str
    events: tuple[str, ...]
    secrets: Secrets
    created_at: datetime
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None


class Try(BaseModel):
    """One try at a delivery. `error` is the service's own code, never text of the receiver."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    status: int | None = None
    error: str | None = None
    duration_ms: int = 0

    @property
    def succeeded(self) -> bool:
        """Tell whether the answer was 2xx."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class Delivery:
    """One event for one URL. Its id is the `webhook-id`, the same on every try."""

    id: DeliveryId
    key_id: KeyId
    event: str
    url: str
    state: DeliveryState
    created_at: datetime
    job_id: JobId | None = None
    endpoint_id: EndpointId | None = None
    event_id: EventId | None = None  # of what its body is rendered from
    body: bytes | None = None  # rendered at the first try
    attempt: int = 0
    fence: int = 0
    next_at: datetime | None = None
    delivered_at: datetime | None = None
    tries: tuple[Try, ...] = field(default=())


@dataclass(frozen=True)
class DeliveryFilter:
    """Selects deliveries by each field that is not None."""

    job_id: JobId | None = None
    endpoint_id: EndpointId | None = None
    state: DeliveryState | None = None
