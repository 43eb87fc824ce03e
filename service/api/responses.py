"""Responses for a job: JSON with an ETag, after a wait, or the video itself."""

import hashlib
from datetime import timedelta

from fastapi import Request, Response
from starlette.datastructures import Headers

from service.api.deps import RequestContext
from service.api.inline_video import InlineVideoResponse
from service.api.preconditions import is_unmodified
from service.api.schemas.jobs import JobOut
from service.domain import topics
from service.domain.errors import TooLarge
from service.domain.job import ACTIVE, Job, JobState, Scope
from service.domain.models.catalog import CARDS
from service.domain.queue_order import Forecast
from service.runtime.notifier import wait_for_event
from service.runtime.runtime import Runtime

# With several processes a notification may be missed while one of them reconnects.
_LOOK_AGAIN_SECONDS = 2.0


async def job_out(context: RequestContext, job: Job) -> JobOut:
    """Return the wire shape of a job, with its queue position and ETA."""
    runtime, forecast = context.runtime, None
    if job.state is JobState.QUEUED:
        forecast = await runtime.forecast_job(job)
    return JobOut.from_domain(
        job,
        context.links,
        card=CARDS.get(job.request.model),
        position=None if forecast is None else forecast.position,
        eta_seconds=_eta_seconds(job, forecast),
    )


def _eta_seconds(job: Job, forecast: Forecast | None) -> float | None:
    """Estimate the seconds until the video is there; None if unknown, say without a worker."""
    if job.state in ACTIVE:
        return round(job.left_ms / 1000, 1)
    if forecast is None or forecast.starts_in_ms is None:
        return None
    return round((forecast.starts_in_ms + job.expected_ms) / 1000, 1)


def json_response(body: JobOut, status: int = 200, conditions: Headers | None = None) -> Response:
    """Return the job, or 304 by the request's headers, given as `conditions`."""
    content = body.model_dump_json().encode()
    tag = tag_of(content)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if not body.status.final:
        headers["Retry-After"] = "1"
    if conditions is not None and is_unmodified(conditions, tag):
        return Response(status_code=304, headers=headers)
    return Response(content, status, headers=headers, media_type="application/json")


def tag_of(content: bytes) -> str:
    """Return an ETag: a hash of the whole body."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


async def wait_final(request: Request, runtime: Runtime, job: Job, wait: timedelta) -> Job | None:
    """Return the job once it is final, the wait is over or the client has disconnected; None at
    once where too many requests wait already."""
    deadline = runtime.clock.passed() + min(wait, runtime.limits.max_wait)
    with (
        runtime.throttles.waits.hold(job.key_id) as has_slot,
        runtime.notifier.listen(topics.of_job(job.id)) as event,
    ):
        if not has_slot:
            return None
        while True:
            event.clear()
            current_job = await runtime.find_job(job.id, Scope(job.key_id))
            seconds_left = (deadline - runtime.clock.passed()).total_seconds()
            if current_job.state.final or seconds_left <= 0 or runtime.notifier.closed:
                return current_job
            if await request.is_disconnected():
                return current_job  # frees the slot
            await wait_for_event(event, min(seconds_left, _LOOK_AGAIN_SECONDS))


def inline_response(runtime: Runtime, job: Job, fallback: Response) -> Response:
    """Return the video in base64, or `fallback` where the key has no slot free. Raises TooLarge."""
    assert job.result is not None, "only a success has a video"
    video = job.result.video
    if video.size_bytes > runtime.limits.max_inline_bytes:
        raise TooLarge(
            f"the video of job {job.id} has {video.size_bytes:,} bytes; at most "
            f"{runtime.limits.max_inline_bytes:,} are sent inline: fetch it from its video_url",
            code="too_large_inline",
        )
    return InlineVideoResponse(runtime, job, fallback)
