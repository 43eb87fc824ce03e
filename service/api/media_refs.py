"""What an ask says of pictures and films becomes references, each to bytes that can be kept."""

from dataclasses import dataclass, field

from service.api.auth import RequestContext
from service.api.body.parse import ParsedBody
from service.api.urls import refuse_bad_target
from service.domain import ids
from service.domain.artifact import input_key
from service.domain.errors import FieldError, NotFound, RequestRefused
from service.domain.ids import JobId
from service.domain.job import Job, JobState
from service.domain.media import MediaRef, Role
from service.domain.request import VideoParams
from service.lifecycle.inputs import Origin, StoredInput


@dataclass(frozen=True)
class ResolvedMedia:
    """The references for a request, and what there is to keep for those that are no URL."""

    media: dict[Role, MediaRef] = field(default_factory=dict)
    origins: dict[Role, Origin] = field(default_factory=dict)


async def resolve_media(
    context: RequestContext, asked: ParsedBody[VideoParams], again: Job | None = None
) -> ResolvedMedia:
    """Raises RequestRefused naming the field of a URL that is never called, and of a job that has
    no such clip for this key. Of the job that is tried `again` come those that were not changed."""
    found = ResolvedMedia()
    for role, text in asked.ask.media_texts.items():
        if role in asked.files:
            path, ref = asked.files[role]
            _add(found, role, ref, path)
        elif "://" in text:
            refuse_bad_target(context.runtime, text, f"/{role}")
            _add(found, role, MediaRef(source="url", url=text))
        elif again is not None and text == kept_text(again, role):
            _add(found, role, again.request.media[role], StoredInput(input_key(again.id, role)))
        else:
            ref, clip = await _clip(context, text, role)
            _add(found, role, ref, clip)
    return found


def kept_texts(job: Job) -> dict[Role, str]:
    """How an ask names what a job was given, so that it is given again."""
    media = job.request.media
    return {role: ref.url or kept_text(job, role) for role, ref in media.items()}


def kept_text(job: Job, role: Role) -> str:
    return f"kept:{input_key(job.id, role)}"


def _add(found: ResolvedMedia, role: Role, ref: MediaRef, origin: Origin | None = None) -> None:
    found.media[role] = ref
    if origin is not None:
        found.origins[role] = origin


async def _clip(context: RequestContext, text: str, role: Role) -> tuple[MediaRef, StoredInput]:
    """A job's video, or its last frame where a picture is wanted."""
    job = await _own_job(context, text, role)
    facts = job.result
    if job.state is not JobState.SUCCEEDED or facts is None:
        detail = f"job {job.id} is {job.state}; only the clip of one that succeeded can be used"
        raise RequestRefused([FieldError(f"/{role}", detail, "no_clip")])
    artifact = facts.video if role == "video" else facts.last_frame
    moving = {"fps": facts.fps, "num_frames": facts.num_frames} if role == "video" else {}
    ref = MediaRef(
        source="job",
        job_id=job.id,
        media_type=artifact.media_type,
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        width=facts.width,
        height=facts.height,
        **moving,
    )
    return ref, StoredInput(artifact.key)


async def _own_job(context: RequestContext, text: str, role: Role) -> Job:
    """Another's job is answered like one that never was."""
    try:
        if ids.is_id("job", text):
            return await context.runtime.find_job(JobId(text), context.key.id)
    except NotFound:
        pass
    raise RequestRefused([FieldError(f"/{role}", f"no job {text[:64]}", "unknown_job")])
