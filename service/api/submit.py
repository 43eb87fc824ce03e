"""Read a submit or retry from HTTP, and respond to it."""

import hashlib
import re
from datetime import timedelta
from typing import Annotated

from fastapi import Header, Request, Response

from service.api.body.parse import ParsedBody
from service.api.deps import RequestContext
from service.api.responses import inline_response, job_out, json_response, wait_final
from service.domain.errors import FieldError, RequestRefused
from service.domain.ids import JobId
from service.domain.job import Idempotency, JobState
from service.domain.request import JobOptions, MediaBody
from service.lifecycle.submit import Accepted
from service.runtime.submit import SubmitRequest, create_job

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Send the same one again to get the same job, not a second video. Kept 24 h.",
    ),
]
# Of an avatar or a voice, whose row has the key.
CreationKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Send the same one again to get what it created, and no second. Kept for as "
        "long as that exists.",
    ),
]
Prefer = Annotated[
    str | None, Header(description="`wait=N`: answer when the job is final, within N ≤ 55 seconds.")
]

# The problems of a submit and a retry.
SUBMIT: tuple[int | str, ...] = (
    *(400, "invalid_form", 401, 402, "read_only_key", 408, 413, "too_large_inline", 415),
    *(422, "idempotency_key_reused", 429, "queue_full", "inputs_full", 503, 507),
)

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,9})(?:$|[,;\s])", re.IGNORECASE)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def submit_request(
    context: RequestContext,
    body: ParsedBody[JobOptions],
    request: Request,
    *,
    idempotency_key: str | None = None,
    retry_of: JobId | None = None,
) -> SubmitRequest:
    """Raises RequestRefused for a malformed Idempotency-Key."""
    return SubmitRequest(
        key_id=context.key.id,
        params=body.params,
        api_url=context.links.base,
        files=body.files,
        idempotency=idempotency_of(request, idempotency_key, body.params),
        retry_of=retry_of,
        # Of a new job, its own row names the key.
        actor=context.key.id if context.key.admin and retry_of is not None else None,
        traceparent=_traceparent(request),
    )


async def submit(
    context: RequestContext,
    body: ParsedBody[JobOptions],
    request: Request,
    *,
    prefer: str | None,
    idempotency_key: str | None,
    retry_of: JobId | None = None,
) -> Response:
    """Accept the job, wait for it where `prefer` says so, and respond."""
    accepted = await create_job(
        context.runtime,
        submit_request(context, body, request, idempotency_key=idempotency_key, retry_of=retry_of),
    )
    body.area.clear()  # frees the disk before the wait
    return await _respond(context, request, accepted, body.params, prefer=prefer)


async def _respond(
    context: RequestContext,
    request: Request,
    accepted: Accepted,
    params: JobOptions,
    *,
    prefer: str | None,
) -> Response:
    """Respond 202 with the job, or 200 once it is final within the wait: then with the video itself
    for `response_format: b64_json`."""
    runtime, links = context.runtime, context.links
    job, wait = accepted.job, _wait(prefer, runtime.limits.max_wait)
    headers = {"Location": links.job(job.id)}
    if accepted.is_replay:
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


def _wait(prefer: str | None, max_wait: timedelta) -> timedelta | None:
    """Parse `wait=N` (RFC 7240), capped at `max_wait`."""
    match = _WAIT.search(prefer or "")
    return None if match is None else min(timedelta(seconds=int(match[1])), max_wait)


def _traceparent(request: Request) -> str | None:
    header = request.headers.get("traceparent", "")
    return header if _TRACEPARENT.fullmatch(header) else None


def idempotency_of(request: Request, name: str | None, params: MediaBody) -> Idempotency | None:
    """Return the key and fingerprint of a request; None without an Idempotency-Key. Raises
    RequestRefused for one that is none."""
    if name is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(name):
        detail = "must be 1 to 255 visible ASCII characters"
        raise RequestRefused([FieldError("Idempotency-Key:", detail, "invalid_header")])
    fingerprint = (
        f"{request.method} {request.url.path}\n{params.model_dump_json(exclude_none=True)}"
    )
    return Idempotency(name, hashlib.sha256(fingerprint.encode()).digest())
