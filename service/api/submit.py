"""Turn a body into an accepted job and its response; shared by submit and retry."""

import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Header, Request, Response
from starlette.concurrency import run_in_threadpool

from service.api.auth import RequestContext
from service.api.body.parse import ParsedBody
from service.api.media_refs import ResolvedMedia, resolve_media
from service.api.responses import inline_response, job_out, json_response, wait_final
from service.api.urls import refuse_bad_target
from service.domain.errors import FieldError, InputsFull, RequestRefused, Unavailable
from service.domain.job import Job, JobState
from service.domain.limits import Limits
from service.domain.media import kept_bytes
from service.domain.request import VideoOptions, VideoParams
from service.domain.submission import Idempotency, Submission, new_id
from service.failpoint import failpoint
from service.lifecycle.candidates import candidates
from service.lifecycle.inputs import delete_inputs, store_inputs
from service.lifecycle.submit import Accepted, find_earlier
from service.log import Log
from service.store import jobs

log = Log(__name__)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Send the same one again to get the same job, not a second video. Kept 24 h.",
    ),
]
Prefer = Annotated[
    str | None, Header(description="`wait=N`: answer when the job is final, within N ≤ 55 seconds.")
]

# The problems of a submit and a retry.
SUBMIT: tuple[int | str, ...] = (
    *(400, "invalid_form", 401, 402, 408, 413, "too_large_inline", 415),
    *(422, "idempotency_key_reused", 429, "queue_full", "inputs_full", 503, 507),
)

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,9})(?:$|[,;\s])", re.IGNORECASE)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True)
class SubmitRequest:
    """The params of a submit or retry, and the rest of the request."""

    body: ParsedBody[VideoParams]
    request: Request
    idempotency: Idempotency | None = None
    old_job: Job | None = None  # final


async def make_submission(
    context: RequestContext, submit_request: SubmitRequest
) -> tuple[Submission, ResolvedMedia]:
    """Resolve the params against the models' cards. RequestRefused names each invalid field."""
    runtime, params = context.runtime, submit_request.body.params
    inputs = await resolve_media(context, submit_request.body, submit_request.old_job)
    first, *rest = candidates(runtime.cards, runtime.terms.rates, params, inputs.media)
    if params.webhook_url is not None:
        refuse_bad_target(runtime, params.webhook_url, "/webhook_url")
    submission = Submission(
        key_id=context.key.id,
        request=first.request,
        fallbacks=tuple(candidate.as_fallback() for candidate in rest),
        timeout=_timeout(params, runtime.limits),
        start_timeout=_seconds(params.start_timeout_seconds),
        priority=params.priority or "normal",
        metadata=params.metadata or {},
        # Reserves enough for whichever model makes the video.
        estimated_usd=max(candidate.estimated_usd for candidate in (first, *rest)),
        rate=first.rate,
        api_url=context.links.base[:300],
        expected_duration=timedelta(seconds=first.expected_seconds),
        webhook_url=params.webhook_url,
        webhook_events=None if params.webhook_events is None else list(params.webhook_events),
        retry_of=None if submit_request.old_job is None else submit_request.old_job.id,
        traceparent=_traceparent(submit_request.request),
        idempotency=submit_request.idempotency,
        job_id=new_id() if inputs.origins else None,
    )
    return submission, inputs


async def accept_job(
    context: RequestContext, submit_request: SubmitRequest, *, prefer: str | None
) -> Response:
    """Make the job durable, wait for it where `prefer` says so, and respond."""
    earlier = await _earlier_of_media(context, submit_request)
    acceptance = earlier or await _submit(context, submit_request)
    submit_request.body.area.clear()  # frees the disk before the wait
    failpoint("submit.committed")
    return await respond(
        context, submit_request.request, acceptance, submit_request.body.params, prefer=prefer
    )


async def respond(
    context: RequestContext,
    request: Request,
    acceptance: Accepted,
    params: VideoOptions,
    *,
    prefer: str | None,
) -> Response:
    """Respond 202 with the job, or 200 once it is final within the wait: then with the video itself
    for `response_format: b64_json`."""
    runtime, links = context.runtime, context.links
    job, wait = acceptance.job, _wait(prefer, runtime.limits.max_wait)
    log.info(
        "job replayed" if acceptance.is_replay else "job accepted",
        job=job.id,
        key=job.key_id,
        model=job.request.model,
        retry_of=job.retry_of,
    )
    headers = {"Location": links.job(job.id)}
    if acceptance.is_replay:
        headers["Idempotency-Replayed"] = "true"
    if wait is not None:
        latest_job = await wait_final(request, runtime, job, wait)
        if latest_job is not None:
            headers["Preference-Applied"] = f"wait={int(wait.total_seconds())}"
            job = latest_job
    answer = json_response(await job_out(context, job), 200 if job.state.final else 202)
    if params.response_format == "b64_json" and job.state is JobState.SUCCEEDED:
        answer = inline_response(runtime, job, fallback=answer)
    answer.headers.update(headers)
    return answer


async def _earlier_of_media(context: RequestContext, submit: SubmitRequest) -> Accepted | None:
    """Look for an earlier job before storing any file, and before resolving a job id in the body
    that may be deleted by now."""
    if not submit.body.params.media_texts:
        return None
    return await find_earlier_job(context, submit.idempotency)


async def find_earlier_job(context: RequestContext, name: Idempotency | None) -> Accepted | None:
    """Return the job that this Idempotency-Key created before, once that is durable."""
    if name is None:
        return None
    runtime, key_id = context.runtime, context.key.id
    now = runtime.clock()
    if await runtime.read(lambda tx: find_earlier(tx, key_id, name, now)) is None:
        return None
    # Committed is not yet durable where the database is replicated: a write waits for that.
    return await runtime.write(lambda tx: find_earlier(tx, key_id, name, now))


async def _submit(context: RequestContext, submit_request: SubmitRequest) -> Accepted:
    """Create the job; its stored inputs are discarded if it is not accepted."""
    runtime = context.runtime
    try:
        submission, inputs = await make_submission(context, submit_request)
    except RequestRefused:
        # An accepted job stays valid though a limit was lowered or a model removed since.
        earlier = await find_earlier_job(context, submit_request.idempotency)
        if earlier is None:
            raise
        return earlier
    runtime.submit_limit.spend(context.key.id)
    if submission.job_id is None:
        return await runtime.submit(submission)
    runtime.disk_space.check()
    await _check_input_bytes(context, kept_bytes(inputs.media.values()))
    job_id, artifacts = submission.job_id, runtime.artifacts
    await run_in_threadpool(store_inputs, artifacts, job_id, inputs.media, inputs.origins)
    failpoint("inputs.kept")
    try:
        acceptance = await runtime.submit(submission)
    except Unavailable:
        raise  # it may have been accepted nevertheless
    except BaseException:
        await run_in_threadpool(delete_inputs, artifacts, job_id)
        raise
    if acceptance.is_replay:
        await run_in_threadpool(delete_inputs, artifacts, job_id)
    return acceptance


async def _check_input_bytes(context: RequestContext, num_new: int) -> None:
    """Raises InputsFull. Counts accepted jobs only: concurrent uploads of one key (at most 16 a
    process, runtime/uploads.py) may exceed the limit once."""
    runtime, key_id = context.runtime, context.key.id
    limit = runtime.limits.max_input_bytes_per_key
    num_kept = await runtime.read(lambda tx: jobs.input_bytes(tx, key_id))
    if num_kept + num_new > limit:
        raise InputsFull(
            f"your jobs keep {num_kept:,} bytes of images and videos, and these have {num_new:,}: "
            f"the limit is {limit:,} (RUSHES_MAX_INPUT_BYTES_PER_KEY); delete final jobs, or "
            "send https URLs, which are not stored"
        )


def _timeout(params: VideoParams, limits: Limits) -> timedelta:
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


def _wait(prefer: str | None, max_wait: timedelta) -> timedelta | None:
    """Parse `wait=N` (RFC 7240), capped at `max_wait`."""
    match = _WAIT.search(prefer or "")
    return None if match is None else min(timedelta(seconds=int(match[1])), max_wait)


def _traceparent(request: Request) -> str | None:
    header = request.headers.get("traceparent", "")
    return header if _TRACEPARENT.fullmatch(header) else None


def idempotency_of(request: Request, name: str | None, params: VideoOptions) -> Idempotency | None:
    """Return the key and fingerprint of a request; None without an Idempotency-Key."""
    if name is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(name):
        detail = "must be 1 to 255 visible ASCII characters"
        raise RequestRefused([FieldError("Idempotency-Key:", detail, "invalid_header")])
    fingerprint = (
        f"{request.method} {request.url.path}\n{params.model_dump_json(exclude_none=True)}"
    )
    return Idempotency(name, hashlib.sha256(fingerprint.encode()).digest())
