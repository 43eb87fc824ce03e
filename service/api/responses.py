"""How a job is answered: as JSON with an ETag, after a wait, or as the video itself."""

import hashlib
from datetime import timedelta

from fastapi import Request, Response
from starlette.datastructures import Headers

from service.api.auth import RequestContext
from service.api.inline_video import InlineAnswer
from service.api.preconditions import unchanged
from service.api.schemas.jobs import JobOut
from service.domain.errors import TooLarge
from service.domain.job import ACTIVE, Job, JobState
from service.domain.models.catalog import CARDS
from service.domain.queue_order import Forecast
from service.runtime.notifier import heard
from service.runtime.runtime import Runtime

# Where several processes share a database, a ring may be missed while one of them reconnects.
_LOOK_AGAIN_SECONDS = 2.0


async def view(context: RequestContext, job: Job) -> JobOut:
    """The job as its owner sees it, with its place in the queue and a guess at the time left."""
    runtime, place = context.runtime, None
    if job.state is JobState.QUEUED:
        place = await runtime.place(job)
    return JobOut.from_domain(
        job,
        context.links,
        card=CARDS.get(job.request.model),
        position=None if place is None else place.position,
        eta_seconds=_eta_seconds(job, place),
    )


def _eta_seconds(job: Job, place: Forecast | None) -> float | None:
    """Until the video is there; None where nobody can tell, say because no worker is there."""
    if job.state in ACTIVE:
        return round(job.left_ms / 1000, 1)
    if place is None or place.starts_in_ms is None:
        return None
    return round((place.starts_in_ms + job.expected_ms) / 1000, 1)


def json_answer(body: JobOut, status: int = 200, known: Headers | None = None) -> Response:
    """Answer with the job, or with 304 where `known`, the request's headers, say that its client
    has it."""
    content = body.model_dump_json().encode()
    tag = tag_of(content)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if not body.status.final:
        headers["Retry-After"] = "1"
    if known is not None and unchanged(known, tag):
        return Response(status_code=304, headers=headers)
    return Response(content, status, headers=headers, media_type="application/json")


def tag_of(content: bytes) -> str:
    """Hash the whole body: whatever changes in it, changes the ETag."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


async def wait_final(request: Request, runtime: Runtime, job: Job, wait: timedelta) -> Job | None:
    """The job as soon as it is final, or as it is when the wait is over or its client has hung up;
    None at once where too many requests are held already."""
    deadline = runtime.clock.passed() + min(wait, runtime.limits.max_wait)
    with runtime.wait_slots.hold(job.key_id) as held, runtime.notifier.listen(job.id) as event:
        if not held:
            return None
        while True:
            event.clear()
            now = await runtime.find_job(job.id, job.key_id)
            left = (deadline - runtime.clock.passed()).total_seconds()
            if now.state.final or left <= 0 or runtime.notifier.closed:
                return now
            if await request.is_disconnected():
                return now  # its place is another's
            await heard(event, min(left, _LOOK_AGAIN_SECONDS))


def inline_answer(runtime: Runtime, job: Job, instead: Response) -> Response:
    """Answer with the video itself in base64, or with `instead` where too many of the key are being
    sent. Raises TooLarge where it is too big for that."""
    assert job.result is not None, "only a success has a video"
    video = job.result.video
    if video.size_bytes > runtime.limits.max_inline_bytes:
        raise TooLarge(
            f"the video of job {job.id} is there, but has {video.size_bytes:,} bytes; at most "
            f"{runtime.limits.max_inline_bytes:,} are sent inline: fetch it from its video_url",
            code="too_large_inline",
        )
    return InlineAnswer(runtime, job, instead)
