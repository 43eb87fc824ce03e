"""Resolve the inputs of a request into references and the bytes to store."""

from service.domain import ids
from service.domain.artifact import input_key
from service.domain.errors import FieldError, NotFound, RequestRefused
from service.domain.ids import JobId
from service.domain.job import Job, JobState
from service.domain.key import Scope
from service.domain.media import MediaRef, Role, rule_of
from service.domain.options import JobOptions
from service.domain.resubmit import input_reference
from service.lifecycle.inputs import Input, StoredInput
from service.lifecycle.targets import refuse_bad_target
from service.runtime.runtime import Runtime


async def resolve_media(
    runtime: Runtime,
    scope: Scope,
    params: JobOptions,
    files: dict[Role, Input],
    old_job: Job | None = None,
) -> dict[Role, Input]:
    """Resolve every input. Those unchanged since `old_job` are copied from it.

    Raises RequestRefused naming the field of a forbidden URL, and of a job that has no such video.
    """
    inputs: dict[Role, Input] = {}
    for role, text in params.media_texts.items():
        if role in files:
            inputs[role] = files[role]
        elif "://" in text:
            refuse_bad_target(runtime.egress_rules, text, f"/{role}")
            inputs[role] = Input(MediaRef(source="url", url=text))
        elif old_job is not None and text == input_reference(old_job, role):
            stored = StoredInput(input_key(old_job.id, role))
            inputs[role] = Input(old_job.request.media[role], stored)
        else:
            inputs[role] = _output(await _own_job(runtime, scope, text, role), role)
    return inputs


def _output(job: Job, role: Role) -> Input:
    """Return a job's video, or its last frame where the role is an image."""
    facts = job.result
    if job.state is not JobState.SUCCEEDED or facts is None:
        detail = f"job {job.id} is {job.state}; only a succeeded job has a video"
        raise RequestRefused([FieldError(f"/{role}", detail, "no_video")])
    rule = rule_of(role)
    artifact = facts.artifacts[rule.artifact]
    if rule.kind == "audio" and not facts.has_audio:
        detail = f"the video of job {job.id} has no sound; name one that has, or send audio"
        raise RequestRefused([FieldError(f"/{role}", detail, "no_sound")])
    is_video = rule.kind == "video"
    ref = MediaRef(
        source="job",
        job_id=job.id,
        media_type=artifact.media_type,
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        width=facts.width,
        height=facts.height,
        fps=facts.fps if is_video else None,
        num_frames=facts.num_frames if is_video else None,
        seconds=facts.num_frames / facts.fps if rule.kind == "audio" else None,
    )
    return Input(ref, StoredInput(artifact.key))


async def _own_job(runtime: Runtime, scope: Scope, text: str, role: Role) -> Job:
    """Find a job in `scope`; one of another key is answered like an unknown one."""
    try:
        if ids.is_id("job", text):
            return await runtime.find_job(JobId(text), scope)
    except NotFound:
        pass
    raise RequestRefused([FieldError(f"/{role}", f"no job {text[:64]}", "unknown_job")])
