"""From a body to an accepted job and its answer; `generate` and `retry` share it."""

import hashlib
import random
import re
from datetime import timedelta
from typing import Annotated

from fastapi import Header, Request, Response

from service.api.answers import inline_answer, json_answer, view, wait_final
from service.api.auth import Visit
from service.api.parts import Parts
from service.domain.errors import FieldError, RequestRefused
from service.domain.failpoint import failpoint
from service.domain.job import JobId, JobState
from service.domain.price import cost_usd
from service.domain.request import MAX_SEED, VideoAsk
from service.domain.resolve import resolve
from service.domain.submission import Idempotency, Submission
from service.egress.client import TargetRefused, check_url
from service.log import Log

log = Log(__name__)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Send the same one again to get the same job, not a second video. Kept 24 h.",
    ),
]
Prefer = Annotated[
    str | None, Header(description="`wait=N`: answer when the job is final, within N ≤ 60 seconds.")
]

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,9})(?:$|[,;\s])", re.IGNORECASE)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def submission(
    visit: Visit, ask: VideoAsk, request: Request, retry_of: JobId | None = None
) -> Submission:
    """Resolve `ask` against its model's card; raises RequestRefused naming each wrong field."""
    parts = visit.parts
    card = parts.card(ask.model)
    resolved = resolve(ask, card, seed=random.randint(0, MAX_SEED))  # noqa: S311 - not a secret
    if ask.webhook_url is not None:
        refuse_bad_target(parts, ask.webhook_url, "/webhook_url")
    expected, rate = card.expected_seconds(resolved), parts.terms.rates.expected(card.name)
    limit = parts.limits.default_timeout
    return Submission(
        key_id=visit.key.id,
        request=resolved,
        timeout=limit if ask.timeout_seconds is None else timedelta(seconds=ask.timeout_seconds),
        start_timeout=_seconds(ask.start_timeout_seconds),
        priority=ask.priority or "normal",
        metadata=ask.metadata or {},
        estimated_usd=round(cost_usd(expected, rate), 6),
        rate=rate,
        api_url=visit.links.base[:300],
        expected=timedelta(seconds=expected),
        webhook_url=ask.webhook_url,
        webhook_events=None if ask.webhook_events is None else list(ask.webhook_events),
        retry_of=retry_of,
        traceparent=_traceparent(request),
        idempotency=_idempotency(request, ask),
    )


async def accept(visit: Visit, asked: Submission, *, prefer: str | None, inline: bool) -> Response:
    """Make the job durable, wait for it where that was asked for, and answer.

    202 with the job; 200 when it became final within the wait, which `inline` answers with the
    video itself.
    """
    parts, links = visit.parts, visit.links
    parts.submits.spend(visit.key.id)
    accepted = await parts.submit(asked)
    failpoint("submit.committed")
    job, wait = accepted.job, _wait(prefer, parts.limits.max_wait)
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
        headers["Preference-Applied"] = f"wait={int(wait.total_seconds())}"
        job = await wait_final(parts, job, wait)
    if inline and job.state is JobState.SUCCEEDED:
        answer = await inline_answer(parts, job)
    else:
        answer = json_answer(await view(visit, job), 200 if job.state.final else 202)
    answer.headers.update(headers)
    return answer


def refuse_bad_target(parts: Parts, url: str, pointer: str) -> None:
    """Raises RequestRefused for a URL to which nothing would ever be sent."""
    try:
        check_url(url, parts.egress_rules)
    except TargetRefused as refused:
        why = refused.reason
        if "loopback" in why:
            why += "; RUSHES_WEBHOOKS_ALLOW_LOOPBACK=1 allows it, for development"
        raise RequestRefused([FieldError(pointer, why, "refused_url")]) from None


def _seconds(number: int | None) -> timedelta | None:
    return None if number is None else timedelta(seconds=number)


def _wait(prefer: str | None, longest: timedelta) -> timedelta | None:
    """RFC 7240: a preference that cannot be met is met as far as it can be."""
    found = _WAIT.search(prefer or "")
    return None if found is None else min(timedelta(seconds=int(found[1])), longest)


def _traceparent(request: Request) -> str | None:
    given = request.headers.get("traceparent", "")
    return given if _TRACEPARENT.fullmatch(given) else None


def _idempotency(request: Request, ask: VideoAsk) -> Idempotency | None:
    name = request.headers.get("idempotency-key")
    if name is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(name):
        detail = "must be 1 to 255 visible ASCII characters"
        raise RequestRefused([FieldError("Idempotency-Key:", detail, "invalid_header")])
    asked = f"{request.method} {request.url.path}\n{ask.model_dump_json(exclude_none=True)}"
    return Idempotency(name, hashlib.sha256(asked.encode()).digest())
