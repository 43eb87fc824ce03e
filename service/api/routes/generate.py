"""Submit a video or an avatar, or estimate a video."""

from typing import Any

from fastapi import APIRouter, Request, Response

from service.api.auth import ContextDep
from service.api.body.parse import AvatarParamsDep, VideoParamsDep, body_of
from service.api.schemas.costs import Cost
from service.api.schemas.headers import OF_SUBMIT, header_docs
from service.api.schemas.jobs import AnyJob, Estimate, FallbackOut, InlineAvatar, InlineVideo
from service.api.schemas.problems import problem_docs
from service.api.submit import SUBMIT, IdempotencyKey, Prefer, submit, submit_request
from service.domain.avatar import AvatarParams
from service.domain.request import VideoParams
from service.domain.submission import Submission
from service.runtime.estimate import warnings
from service.runtime.submit import prepare

router = APIRouter()


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
    "/generate-video",
    tags=["videos"],
    status_code=202,
    response_model=AnyJob,
    responses=_responses(AnyJob | InlineVideo),
    openapi_extra=body_of(VideoParams),
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
    "/generate-avatar",
    tags=["avatars"],
    status_code=202,
    response_model=AnyJob,
    responses=_responses(AnyJob | InlineAvatar),
    openapi_extra=body_of(AvatarParams),
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
    responses=problem_docs(400, "invalid_form", 401, 413, 415, 422, 429, 503, 507),
    openapi_extra=body_of(VideoParams),
)
async def estimate(body: VideoParamsDep, request: Request, context: ContextDep) -> Estimate:
    """Dry run of a submit: resolved parameters, cost, expected seconds and warnings."""
    runtime = context.runtime
    submission, _ = await prepare(runtime, submit_request(context, body, request))
    video_request = submission.request
    card = runtime.cards[video_request.model]
    return Estimate(
        model=card.name,
        sandbox=card.sandbox,
        input=video_request,
        duration_seconds=_rounded(video_request.duration_seconds),
        expected_seconds=round(card.expected_seconds(video_request), 2),
        fallbacks=[FallbackOut.from_domain(fallback) for fallback in submission.fallbacks],
        cost=_cost(submission),
        warnings=await warnings(runtime, body.params, submission),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _cost(submission: Submission) -> Cost:
    rate = submission.rate
    assert rate is not None, "a submission of the API has a rate"
    return Cost(
        estimated_usd=submission.estimated_usd,
        gpu=rate.gpu,
        usd_per_second=rate.usd_per_second,
        rate_source=rate.source,
    )
