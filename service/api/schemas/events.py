"""The shape of an event, in streams and in the bodies of webhooks."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from service.api.schemas.jobs import AnyJob
from service.domain.event import EventKind


class JobEvent(BaseModel):
    """An event of a job. `job.queued` and `job.progress` show the job as it is now; the others are
    changes of its state."""

    type: Literal["job.queued", EventKind]
    timestamp: datetime
    data: AnyJob = Field(
        description="The job then. Above 20,000 bytes `input`, and if necessary `metadata`, are "
        "null, and `omitted` names them."
    )
