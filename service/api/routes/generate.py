"""Submit a video or an avatar, or estimate one."""

from typing import Any

from fastapi import APIRouter, Request, Response

from service.api.body.parse import AvatarParamsDep, EstimateDep, VideoParamsDep, body_of
from service.api.deps import ContextDep
from service.api.schemas.costs import Cost
from service.api.schemas.jobs import (
    AnyJob,
    Estimate,
    FallbackOut,
    InlineAvatar,
    InlineVideo,
    SecondsRange,
)
from service.api.schemas.responses import OF_SUBMIT, header_docs, problem_docs
from service.api.submit import SUBMIT, IdempotencyKey, Prefer, submit, submit_request
from service.domain.job import Submission
from service.domain.kinds import KINDS
from service.domain.request import JobRequest
from service.runtime.submit import prepare, warnings

router = APIRouter()

_VIDEO, _AVATAR = KINDS["video"], KINDS["avatar"]


def _responses(final: Any) -> dict[int | str, dict[str, Any]]:
    """Describe the responses to a submit; `final` is the model of one within the wait."""
    return {
        200: {
            "model": final,
            "description": "The job became final within the wait.",
            **header_docs(*OF_SUBMIT),
        },
        202: {"description": "Accepted, and durable.", **header_docs(*OF_SUBMIT)},
        **problem_docs(*SUBMIT),
    }


@router.post(
    _VIDEO.route,
    tags=["videos"],
    status_code=202,
    response_model=AnyJob,
    responses=_responses(AnyJob | InlineVideo),
    openapi_extra=body_of(_VIDEO.params),
)
async def generate_video(
    body: VideoParamsDep,
    request: Request,
    context: ContextDep,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a video job. It is durable once the response is sent."""
    return await submit(context, body, request, prefer=prefer, idempotency_key=idempotency_key)


@router.post(
    _AVATAR.route,
    tags=["avatars"],
    status_code=202,
    response_model=AnyJob,
    responses=_responses(AnyJob | InlineAvatar),
    openapi_extra=body_of(_AVATAR.params),
)
async def generate_avatar(
    body: AvatarParamsDep,
    request: Request,
    context: ContextDep,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a talking avatar: a face, and a text or a voice. It is durable once the response is
    sent."""
    return await submit(context, body, request, prefer=prefer, idempotency_key=idempotency_key)


@router.post(
    "/v1/estimate",
    tags=["videos"],
    responses=problem_docs(400, "invalid_form", 401, "read_only_key", 413, 415, 422, 429, 503, 507),
    openapi_extra=body_of(*(rule.params for rule in KINDS.values())),
)
async def estimate(body: EstimateDep, request: Request, context: ContextDep) -> Estimate:
    """Dry run of a submit: resolved parameters, length, cost, expected seconds and warnings.

    The body is that of `/generate-video`, or of `/generate-avatar` where it has `text` or `audio`.
    """
    runtime = context.runtime
    submission, _ = await prepare(runtime, submit_request(context, body, request))
    job_request = submission.request
    card = runtime.cards[job_request.model]
    starts_in_ms = await runtime.forecast_next(card.name)
    return Estimate(
        model=card.name,
        sandbox=card.sandbox,
        input=job_request,
        duration_seconds=_seconds(job_request),
        duration_range_seconds=_seconds_range(job_request),
        expected_seconds=round(card.expected_seconds(job_request), 2),
        starts_in_seconds=None if starts_in_ms is None else round(starts_in_ms / 1000, 1),
        fallbacks=[FallbackOut.from_domain(fallback) for fallback in submission.fallbacks],
        cost=_cost(submission),
        warnings=await warnings(runtime, body.params, submission),
    )


def _seconds(request: JobRequest) -> float | None:
    """Return the length of the video where it is known before it is made."""
    if _seconds_range(request) is not None:
        return None
    return round(request.expected_frames / request.fps, 6)


def _seconds_range(request: JobRequest) -> SecondsRange | None:
    if request.seconds_range is None:
        return None
    shortest, longest = request.seconds_range
    return SecondsRange(shortest=round(shortest, 1), longest=round(longest, 1))


def _cost(submission: Submission) -> Cost:
    rate = submission.rate
    assert rate is not None, "a submission of the API has a rate"
    return Cost(
        estimated_usd=submission.estimated_usd,
        gpu=rate.gpu,
        usd_per_second=rate.usd_per_second,
        rate_source=rate.source,
    )
