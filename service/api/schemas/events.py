"""The shapes of events, in streams and in the bodies of webhooks."""

from datetime import datetime
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model
from typing_extensions import TypeAliasType

from service.api.schemas.jobs import (
    CanceledJob,
    ExpiredJob,
    FailedJob,
    JobOut,
    OpenJob,
    SucceededJob,
)

# Left out where no field was dropped, so that the data is the job.
OMITTED = "omitted"


def _snapshot(job: type[JobOut]) -> type[JobOut]:
    dropped = "Null if `omitted` names it."
    fields: dict[str, Any] = {
        "input": (JobOut.__annotations__["input"] | None, Field(description=dropped)),
        "metadata": (dict[str, str] | None, Field(description=dropped)),
        OMITTED: (
            list[Literal["input", "metadata"]],
            Field(description="What was dropped to keep the event below 20,000 bytes."),
        ),
    }
    doc = "The job at the time of an event; of `job.queued` and `job.progress`, as it is now."
    return create_model(f"{job.__name__}Snapshot", __base__=job, __doc__=doc, **fields)


def _event(name: str, kind: Any, data: type[BaseModel]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        "type": (kind, ...),
        "timestamp": (datetime, ...),
        "data": (data, ...),
    }
    return create_model(name, **fields)


class EndpointRef(BaseModel):
    """The endpoint that is tested."""

    id: str
    object: Literal["webhook_endpoint"]


_OPEN = _snapshot(OpenJob)
_QUEUED = _event("QueuedEvent", Literal["job.queued"], _OPEN)
_OF_JOBS = (
    _event("ProgressEvent", Literal["job.started", "job.progress"], _OPEN),
    _event("SucceededEvent", Literal["job.succeeded"], _snapshot(SucceededJob)),
    _event("FailedEvent", Literal["job.failed"], _snapshot(FailedJob)),
    _event("CanceledEvent", Literal["job.canceled"], _snapshot(CanceledJob)),
    _event("ExpiredEvent", Literal["job.expired"], _snapshot(ExpiredJob)),
)
_TEST = _event("TestEvent", Literal["webhook.test"], EndpointRef)


def _union(name: str, *models: Any) -> Any:
    return TypeAliasType(name, Annotated[reduce(or_, models), Field(discriminator="type")])


# An event of a stream, and the body of a webhook; both are discriminated by `type`.
JobEvent = _union("JobEvent", _QUEUED, *_OF_JOBS)
WebhookEvent = _union("WebhookEvent", *_OF_JOBS, _TEST)
