"""Stream the events of one job, or of all jobs of a key."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from service.api.deps import ContextDep, JobPath, RequestContext
from service.api.event_stream import STREAM_HEADERS, EventStream
from service.api.schemas.events import JobEvent
from service.api.schemas.responses import header_docs, problem_docs
from service.domain.errors import Gone
from service.domain.ids import EventId, JobId, job_id_of
from service.runtime.runtime import Runtime
from service.store import events

router = APIRouter(prefix="/v1", tags=["events"])

_MAX_ID = 2**63 - 1
LastEventId = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=_MAX_ID,
        description="Resume behind the event with this id; 0: from the oldest that is kept.",
    ),
]
After = Annotated[
    int | None,
    Query(ge=0, le=_MAX_ID, description="As `Last-Event-ID`, which is used if both are sent."),
]


class _JobEvents(JSONResponse):
    """Documents the stream; FastAPI gives a schema to kinds of JSON alone."""

    media_type = "text/event-stream"


_STREAM = {
    "description": "The stream. Each event's `data` is this object in one line of JSON.",
    **header_docs("Cache-Control"),
}


@router.head("/jobs/{job_id}/events", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/events",
    response_class=_JobEvents,
    response_model=JobEvent,
    responses={
        200: _STREAM,
        204: {"description": "The job is final, and its last event is behind you."},
        **problem_docs(401, 404, 410, 422, 429),
    },
)
async def stream_job_events(
    job_id: JobPath,
    request: Request,
    context: ContextDep,
    last_event_id: LastEventId = None,
    after: After = None,
) -> Response:
    """The job's changes of state and its progress, from the beginning; ends with its last event."""
    runtime, id_ = context.runtime, job_id_of(job_id)
    job = await runtime.find_job(id_, context.scope)
    position = await _position(runtime, last_event_id, after) or EventId(0)
    if position and job.state.final and not await _has_events(context, id_, position):
        return Response(status_code=204, headers=STREAM_HEADERS)
    return _respond(request, context, id_, position)


@router.head("/events", include_in_schema=False)
@router.get(
    "/events",
    response_class=_JobEvents,
    response_model=JobEvent,
    responses={200: _STREAM, **problem_docs(401, 410, 422, 429)},
)
async def stream_events(
    request: Request,
    context: ContextDep,
    last_event_id: LastEventId = None,
    after: After = None,
) -> Response:
    """The events of all your jobs, from now on."""
    position = await _position(context.runtime, last_event_id, after)
    return _respond(request, context, None, position)


async def _position(
    runtime: Runtime, last_event_id: int | None, after: int | None
) -> EventId | None:
    """Return the id to resume behind. Raises Gone where events may be missing from there."""
    number = after if last_event_id is None else last_event_id
    if number is None:
        return None
    position = EventId(number)
    if position and not await runtime.read(lambda tx: events.exists(tx, position)):
        raise Gone(f"no event {position} is kept; begin without a position")
    return position


async def _has_events(context: RequestContext, job_id: JobId, position: EventId) -> bool:
    key_ids = [context.key.id]
    page = await context.runtime.read(
        lambda tx: events.page(tx, key_ids, after=position, size=1, job_id=job_id)
    )
    return bool(page)


def _respond(
    request: Request, context: RequestContext, job_id: JobId | None, position: EventId | None
) -> Response:
    if request.method == "HEAD":
        return Response(headers=STREAM_HEADERS, media_type=EventStream.media_type)
    return EventStream(context.runtime, context.key.id, job_id, position)
