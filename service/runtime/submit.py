"""Accept a request for a job: resolve it, warn of what may surprise, store its inputs, and make the
job durable."""

import hashlib
import logging
from dataclasses import dataclass, field
from datetime import timedelta

from anyio import to_thread

from service.domain import ids
from service.domain.attempt import input_key
from service.domain.errors import (
    Conflict,
    FieldError,
    NotFound,
    RequestRefused,
    ServiceError,
    Unavailable,
)
from service.domain.ids import JobId, KeyId
from service.domain.job import OWN_API, Idempotency, Job, JobState, Scope, Submission, new_id
from service.domain.kinds import KINDS, JobParams
from service.domain.limits import Limits
from service.domain.media import MediaRef, Role, kept_bytes, rule_of
from service.domain.price import microusd, month_of
from service.domain.request import JobOptions, JobRequest
from service.domain.resubmit import input_reference, params_again
from service.failpoint import failpoint
from service.lifecycle.inputs import Input, StoredInput, delete_inputs, store_inputs
from service.lifecycle.model_choices import choose_models
from service.lifecycle.submit import Accepted, find_earlier
from service.lifecycle.targets import refuse_bad_target
from service.runtime.avatars import (
    check_avatar_kept,
    check_inputs,
    check_speech,
    check_stored_bytes,
    use_avatar,
)
from service.runtime.runtime import Runtime
from service.store import keys

log = logging.getLogger(__name__)

_RETRY_SECONDS = 30.0


@dataclass(frozen=True)
class SubmitRequest:
    """A request for a job, whatever API it came through.

    `files` are the uploads among its inputs. A retry names the final job `retry_of`, whose input
    and seed `params` override, and whose fields `without` are left to the defaults. Links to the
    job begin with `api_url`; its webhooks have the shape of `api`. Where an admin is the `actor`,
    that is recorded.
    """

    key_id: KeyId
    params: JobOptions
    api_url: str
    api: str = OWN_API
    files: dict[Role, Input] = field(default_factory=dict)
    idempotency: Idempotency | None = None
    retry_of: JobId | None = None
    without: frozenset[str] = frozenset()
    traceparent: str | None = None
    actor: KeyId | None = None


async def create_job(runtime: Runtime, request: SubmitRequest) -> Accepted:
    """Make the job durable, or return the one that its Idempotency-Key created before.

    Raises RequestRefused naming each invalid field, NotFound or Conflict for a job that cannot be
    retried, QueueFull, InputsFull, BudgetExceeded, RateLimited, StorageFull and Unavailable.
    """
    try:
        accepted = await _create(runtime, request)
    except (RequestRefused, NotFound):
        # An accepted job stays valid though a limit was lowered, or a model or the job to retry
        # removed since.
        earlier = await _find_earlier(runtime, request)
        if earlier is None:
            raise
        accepted = earlier
    job = accepted.job
    log.info(
        "job replayed" if accepted.is_replay else "job accepted",
        extra={
            "job": job.id,
            "key": job.key_id,
            "model": job.request.model,
            "retry_of": job.retry_of,
        },
    )
    failpoint("submit.committed")
    return accepted


def retry_again(runtime: Runtime, job: Job, name: str) -> Job:
    """Submit a final job again for its key, from another thread; once for each `name`. Raises what
    `create_job` does, and Unavailable where it takes too long."""
    request = SubmitRequest(
        key_id=job.key_id,
        params=KINDS[job.request.kind].options(),
        api_url=job.api_url or "",
        api=job.api,
        idempotency=Idempotency(name, hashlib.sha256(name.encode()).digest()),
        retry_of=job.id,
    )
    try:
        return runtime.notifier.run(create_job(runtime, request), _RETRY_SECONDS).job
    except TimeoutError:
        raise Unavailable("the retry took too long") from None


async def prepare(runtime: Runtime, request: SubmitRequest) -> tuple[Submission, dict[Role, Input]]:
    """Resolve the params against the models' cards. RequestRefused names each invalid field."""
    old_job = await _job_to_retry(runtime, request)
    params, of_avatar = await use_avatar(runtime, request.key_id, _params(request, old_job))
    inputs = await _resolve_media(runtime, Scope(request.key_id), params, request.files, old_job)
    inputs |= of_avatar
    media = {role: each.ref for role, each in inputs.items()}
    first, *rest = choices = choose_models(runtime.cards, runtime.terms.rates, params, media)
    if old_job is not None:
        await check_avatar_kept(runtime, old_job, first.request)
    if params.webhook_url is not None:
        refuse_bad_target(runtime.egress_rules, params.webhook_url, "/webhook_url")
    speech_usd = await check_speech(runtime, request.key_id, first.request)
    submission = Submission(
        key_id=request.key_id,
        request=first.request,
        fallbacks=tuple(rest),
        timeout=_timeout(params, runtime.limits),
        start_timeout=_seconds(params.start_timeout_seconds),
        priority=params.priority or "normal",
        metadata=params.metadata or {},
        # Reserves enough for whichever model makes the video.
        estimated_usd=max(choice.estimated_usd for choice in choices) + speech_usd,
        rate=first.rate,
        api=request.api,
        api_url=request.api_url[:300],
        expected_duration=timedelta(milliseconds=first.expected_ms),
        webhook_url=params.webhook_url,
        webhook_events=None if params.webhook_events is None else list(params.webhook_events),
        retry_of=request.retry_of,
        traceparent=request.traceparent,
        idempotency=request.idempotency,
        actor=request.actor,
        job_id=new_id() if any(each.bytes_at is not None for each in inputs.values()) else None,
    )
    return submission, inputs


async def _resolve_media(
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


async def _job_to_retry(runtime: Runtime, request: SubmitRequest) -> Job | None:
    if request.retry_of is None:
        return None
    job = await runtime.find_job(request.retry_of, Scope(request.key_id))
    if not job.state.final:
        raise Conflict(f"the job is {job.state}; only a final job can be retried", code="not_final")
    return job


def _params(request: SubmitRequest, old_job: Job | None) -> JobParams:
    if old_job is not None:
        return params_again(old_job, request.params, request.without)
    assert isinstance(request.params, JobParams), "only a retry leaves things out"
    return request.params


async def _create(runtime: Runtime, request: SubmitRequest) -> Accepted:
    """Create the job; its stored inputs are discarded if it is not accepted."""
    if request.params.media_texts or request.retry_of is not None:
        earlier = await _find_earlier(runtime, request)  # before its inputs are stored once more
        if earlier is not None:
            return earlier
    submission, inputs = await prepare(runtime, request)
    runtime.throttles.submits.spend(request.key_id)
    if submission.job_id is None:
        return await runtime.submit(submission)
    runtime.disk_space.check()
    num_bytes = kept_bytes(each.ref for each in inputs.values())
    await check_stored_bytes(runtime, request.key_id, num_bytes)
    await check_inputs(runtime, submission, inputs)
    job_id, artifacts = submission.job_id, runtime.artifacts
    await to_thread.run_sync(store_inputs, artifacts, job_id, inputs)
    failpoint("inputs.kept")
    try:
        accepted = await runtime.submit(submission)
    except Unavailable:
        raise  # it may have been accepted nevertheless, as after a cancellation
    except ServiceError:
        await to_thread.run_sync(delete_inputs, artifacts, job_id)
        raise
    if accepted.is_replay:
        await to_thread.run_sync(delete_inputs, artifacts, job_id)
    return accepted


async def _find_earlier(runtime: Runtime, request: SubmitRequest) -> Accepted | None:
    """Return the job that this Idempotency-Key created before, once that is durable."""
    name, key_id = request.idempotency, request.key_id
    if name is None:
        return None
    now = runtime.clock()
    return await runtime.read_durable(lambda tx: find_earlier(tx, key_id, name, now))


def _timeout(params: JobOptions, limits: Limits) -> timedelta:
    if params.timeout_seconds is None:
        return limits.default_timeout
    timeout = timedelta(seconds=params.timeout_seconds)
    if timeout > limits.max_timeout:
        max_seconds = int(limits.max_timeout.total_seconds())
        detail = f"timeout_seconds: at most {max_seconds} here, the platform's own limit"
        raise RequestRefused([FieldError("/timeout_seconds", detail, "less_than_equal")])
    return timeout


def _seconds(number: int | None) -> timedelta | None:
    return None if number is None else timedelta(seconds=number)


async def warnings(runtime: Runtime, params: JobOptions, submission: Submission) -> list[str]:
    """List what may surprise: roundings, defaults, missing workers and a budget that is spent."""
    return [
        *_request_warnings(runtime, params, submission.request),
        *await _budget_warnings(runtime, submission),
    ]


async def _budget_warnings(runtime: Runtime, submission: Submission) -> list[str]:
    """Warn where the key's budget does not cover the submission."""
    estimate, month = microusd(submission.estimated_usd), month_of(runtime.clock())
    balance = await runtime.read(lambda tx: keys.balance(tx, submission.key_id, month))
    if balance.allows(estimate):
        return []
    usd_left = (balance.remaining or 0) / 1e6
    return [f"${usd_left:.6f} are left of this month's budget: the job would be refused"]


def _request_warnings(runtime: Runtime, params: JobOptions, request: JobRequest) -> list[str]:
    texts, card = [], runtime.cards[request.model]
    if card.sandbox:
        texts.append(f"{card.name} is a sandbox: it only draws a placeholder")
    seconds, wanted = request.duration_seconds, getattr(params, "duration_seconds", None)
    if seconds is not None and wanted not in (None, seconds):
        texts.append(
            f"{wanted:g} s becomes {request.num_frames} frames at "
            f"{request.fps} fps, which is {seconds:.3f} s"
        )
    ref = next(iter(request.media.values()), None) if request.kind == "video" else None
    if ref is not None and ref.width is None and (params.width is None or params.height is None):
        texts.append(
            f"the size of the input is not known yet: {request.width}x{request.height} is the "
            "model's default; set width and height for another aspect ratio"
        )
    if request.seconds_range is not None:
        shortest, longest = request.seconds_range
        texts.append(
            f"the video will be as long as what is spoken, which is not known yet: {shortest:.1f} "
            f"to {longest:.1f} s; the cost is that of {request.expected_frames / request.fps:.1f} s"
        )
    if params.seed is None:
        texts.append("no seed was given: every job gets a random one of its own")
    if runtime.workers.of_model(card.name).count == 0:
        texts.append(f"{runtime.workers.why_waiting(card.name)}: a job would wait for one")
    return texts
