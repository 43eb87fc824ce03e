"""From a body to an accepted job and its answer; `generate` and `retry` share it."""

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
from service.api.responses import inline_answer, json_answer, view, wait_final
from service.api.urls import refuse_bad_target
from service.domain.errors import FieldError, InputsFull, RequestRefused, Unavailable
from service.domain.job import Job, JobState
from service.domain.limits import Limits
from service.domain.media import kept_bytes
from service.domain.request import VideoOptions, VideoParams
from service.domain.submission import Idempotency, Submission, new_id
from service.failpoint import failpoint
from service.lifecycle.candidates import candidates
from service.lifecycle.inputs import discard, keep
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

# The problems that a submit and a retry may be answered with.
SUBMIT: tuple[int | str, ...] = (
    *(400, "invalid_form", 401, 402, 408, 413, "too_large_inline", 415),
    *(422, "idempotency_key_reused", 429, "queue_full", "inputs_full", 503, 507),
)

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,9})(?:$|[,;\s])", re.IGNORECASE)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True)
class SubmitRequest:
    """An ask with all that its request says besides."""

    asked: ParsedBody[VideoParams]
    request: Request
    named: Idempotency | None = None
    again: Job | None = None  # the final job that is to be tried again


async def submission(
    context: RequestContext, submit_request: SubmitRequest
) -> tuple[Submission, ResolvedMedia]:
    """Resolve the ask against its models' cards; raises RequestRefused naming each wrong field."""
    runtime, ask = context.runtime, submit_request.asked.ask
    brought = await resolve_media(context, submit_request.asked, submit_request.again)
    first, *others = candidates(runtime.cards, runtime.terms.rates, ask, brought.media)
    if ask.webhook_url is not None:
        refuse_bad_target(runtime, ask.webhook_url, "/webhook_url")
    asked = Submission(
        key_id=context.key.id,
        request=first.request,
        fallbacks=tuple(other.as_fallback() for other in others),
        timeout=_timeout(ask, runtime.limits),
        start_timeout=_seconds(ask.start_timeout_seconds),
        priority=ask.priority or "normal",
        metadata=ask.metadata or {},
        # What is reserved must do whoever makes it.
        estimated_usd=max(each.estimated_usd for each in (first, *others)),
        rate=first.rate,
        api_url=context.links.base[:300],
        expected=timedelta(seconds=first.expected_seconds),
        webhook_url=ask.webhook_url,
        webhook_events=None if ask.webhook_events is None else list(ask.webhook_events),
        retry_of=None if submit_request.again is None else submit_request.again.id,
        traceparent=_traceparent(submit_request.request),
        idempotency=submit_request.named,
        job_id=new_id() if brought.origins else None,
    )
    return asked, brought


async def accept(
    context: RequestContext, submit_request: SubmitRequest, *, prefer: str | None
) -> Response:
    """Make the job durable, wait for it where that was asked for, and answer."""
    accepted = await _known(context, submit_request) or await _submit(context, submit_request)
    submit_request.asked.area.clear()  # not held through the wait
    failpoint("submit.committed")
    return await answered(
        context, submit_request.request, accepted, submit_request.asked.ask, prefer=prefer
    )


async def answered(
    context: RequestContext,
    request: Request,
    accepted: Accepted,
    said: VideoOptions,
    *,
    prefer: str | None,
) -> Response:
    """202 with the job; 200 when it became final within the wait, which a `response_format` of
    `b64_json` answers with the video itself."""
    runtime, links = context.runtime, context.links
    job, wait = accepted.job, _wait(prefer, runtime.limits.max_wait)
    log.info(
        "job found again" if accepted.replayed else "job accepted",
        job=job.id,
        key=job.key_id,
        model=job.request.model,
        retry_of=job.retry_of,
    )
    headers = {"Location": links.job(job.id)}
    if accepted.replayed:
        headers["Idempotency-Replayed"] = "true"
    if wait is not None:
        waited = await wait_final(request, runtime, job, wait)
        if waited is not None:
            headers["Preference-Applied"] = f"wait={int(wait.total_seconds())}"
            job = waited
    answer = json_answer(await view(context, job), 200 if job.state.final else 202)
    if said.response_format == "b64_json" and job.state is JobState.SUCCEEDED:
        answer = inline_answer(runtime, job, instead=answer)
    answer.headers.update(headers)
    return answer


async def _known(context: RequestContext, submit_request: SubmitRequest) -> Accepted | None:
    """What the same request made before. Looked for ahead only where files would be kept in vain,
    or where a job that it names may be gone by now."""
    return (
        await earlier(context, submit_request.named)
        if submit_request.asked.ask.media_texts
        else None
    )


async def earlier(context: RequestContext, named: Idempotency | None) -> Accepted | None:
    """What the same request made before, durable by now."""
    if named is None:
        return None
    runtime, key_id = context.runtime, context.key.id
    now = runtime.clock()
    if await runtime.read(lambda tx: find_earlier(tx, key_id, named, now)) is None:
        return None
    # Committed is not yet durable, where the database is copied elsewhere: a write waits for that.
    return await runtime.write(lambda tx: find_earlier(tx, key_id, named, now))


async def _submit(context: RequestContext, submit_request: SubmitRequest) -> Accepted:
    """What is kept for a job that then is not accepted is thrown away at once."""
    runtime = context.runtime
    try:
        asked, brought = await submission(context, submit_request)
    except RequestRefused:
        # What was accepted stays so: a limit may be lower by now, a model gone.
        before = await earlier(context, submit_request.named)
        if before is None:
            raise
        return before
    runtime.submit_limit.spend(context.key.id)
    if asked.job_id is None:
        return await runtime.submit(asked)
    runtime.disk_space.check()
    await _check_input_bytes(context, kept_bytes(brought.media.values()))
    await run_in_threadpool(keep, runtime.artifacts, asked.job_id, brought.media, brought.origins)
    failpoint("inputs.kept")
    try:
        accepted = await runtime.submit(asked)
    except Unavailable:
        raise  # it may have been accepted all the same
    except BaseException:
        await run_in_threadpool(discard, runtime.artifacts, asked.job_id)
        raise
    if accepted.replayed:
        await run_in_threadpool(discard, runtime.artifacts, asked.job_id)
    return accepted


async def _check_input_bytes(context: RequestContext, more: int) -> None:
    """Raises InputsFull. It sees what jobs have that are accepted, and not what comes in beside: so
    the limit may be passed once, by the bodies that one key may send at a time to each process
    (16, api/body/stream.py)."""
    runtime, key_id = context.runtime, context.key.id
    limit = runtime.limits.max_input_bytes_per_key
    kept = await runtime.read(lambda tx: jobs.input_bytes(tx, key_id))
    if kept + more > limit:
        raise InputsFull(
            f"{kept:,} bytes of images and videos are kept for your jobs, and these have {more:,}: "
            f"at most {limit:,} are kept (RUSHES_MAX_INPUT_BYTES_PER_KEY); delete final jobs, or "
            "give https URLs, of which nothing is kept"
        )


def _timeout(ask: VideoParams, limits: Limits) -> timedelta:
    if ask.timeout_seconds is None:
        return limits.default_timeout
    timeout = timedelta(seconds=ask.timeout_seconds)
    if timeout > limits.max_timeout:
        longest = int(limits.max_timeout.total_seconds())
        detail = f"timeout_seconds: at most {longest} here, after which the platform ends a call"
        raise RequestRefused([FieldError("/timeout_seconds", detail, "less_than_equal")])
    return timeout


def _seconds(number: int | None) -> timedelta | None:
    return None if number is None else timedelta(seconds=number)


def _wait(prefer: str | None, longest: timedelta) -> timedelta | None:
    """RFC 7240: a preference that cannot be met is met as far as it can be."""
    found = _WAIT.search(prefer or "")
    return None if found is None else min(timedelta(seconds=int(found[1])), longest)


def _traceparent(request: Request) -> str | None:
    given = request.headers.get("traceparent", "")
    return given if _TRACEPARENT.fullmatch(given) else None


def idempotency(request: Request, name: str | None, said: VideoOptions) -> Idempotency | None:
    """By what a request that says `said` is known again; None without an Idempotency-Key."""
    if name is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(name):
        detail = "must be 1 to 255 visible ASCII characters"
        raise RequestRefused([FieldError("Idempotency-Key:", detail, "invalid_header")])
    told = f"{request.method} {request.url.path}\n{said.model_dump_json(exclude_none=True)}"
    return Idempotency(name, hashlib.sha256(told.encode()).digest())
