"""Resolve the images and videos of a request into references and the bytes to store."""

from dataclasses import dataclass, field

from service.api.auth import RequestContext
from service.api.body.parse import ParsedBody
from service.api.urls import refuse_bad_target
from service.domain import ids
from service.domain.artifact import input_key
from service.domain.errors import FieldError, NotFound, RequestRefused
from service.domain.ids import JobId
from service.domain.job import Job, JobState
from service.domain.media import MediaRef, Role, rule_of
from service.domain.request import VideoParams
from service.lifecycle.inputs import Origin, StoredInput


@dataclass(frozen=True)
class ResolvedMedia:
    """The references by role, and the origin of each that is not a URL."""

    media: dict[Role, MediaRef] = field(default_factory=dict)
    origins: dict[Role, Origin] = field(default_factory=dict)


async def resolve_media(
    context: RequestContext, body: ParsedBody[VideoParams], old_job: Job | None = None
) -> ResolvedMedia:
    """Resolve every image and video. Those unchanged since `old_job` are copied from it.

    Raises RequestRefused naming the field of a forbidden URL, and of a job without such a clip.
    """
    inputs = ResolvedMedia()
    for role, text in body.params.media_texts.items():
        if role in body.files:
            path, ref = body.files[role]
            _add(inputs, role, ref, path)
        elif "://" in text:
            refuse_bad_target(context.runtime, text, f"/{role}")
            _add(inputs, role, MediaRef(source="url", url=text))
        elif old_job is not None and text == input_reference(old_job, role):
            origin = StoredInput(input_key(old_job.id, role))
            _add(inputs, role, old_job.request.media[role], origin)
        else:
            ref, clip = await _clip(context, text, role)
            _add(inputs, role, ref, clip)
    return inputs


def input_references(job: Job) -> dict[Role, str]:
    """Return the texts by which a retry refers to the inputs of `job`."""
    media = job.request.media
    return {role: ref.url or input_reference(job, role) for role, ref in media.items()}


def input_reference(job: Job, role: Role) -> str:
    return f"kept:{input_key(job.id, role)}"


def _add(inputs: ResolvedMedia, role: Role, ref: MediaRef, origin: Origin | None = None) -> None:
    inputs.media[role] = ref
    if origin is not None:
        inputs.origins[role] = origin


async def _clip(context: RequestContext, text: str, role: Role) -> tuple[MediaRef, StoredInput]:
    """Resolve a job id: its video, or its last frame where the role is an image."""
    job = await _own_job(context, text, role)
    facts = job.result
    if job.state is not JobState.SUCCEEDED or facts is None:
        detail = f"job {job.id} is {job.state}; only a succeeded job has a clip"
        raise RequestRefused([FieldError(f"/{role}", detail, "no_clip")])
    rule = rule_of(role)
    artifact = facts.artifacts[rule.artifact]
    moving = {"fps": facts.fps, "num_frames": facts.num_frames} if rule.kind == "video" else {}
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
    """Find a job of this key; one of another key is answered like an unknown one."""
    try:
        if ids.is_id("job", text):
            return await context.runtime.find_job(JobId(text), context.scope)
    except NotFound:
        pass
    raise RequestRefused([FieldError(f"/{role}", f"no job {text[:64]}", "unknown_job")])
