"""Submit a video, or estimate it."""

from fastapi import APIRouter, Request, Response

from service.api.auth import ContextDep, RequestContext
from service.api.body.parse import VideoParamsDep, body_of
from service.api.schemas.costs import Cost
from service.api.schemas.headers import OF_SUBMIT, header_docs
from service.api.schemas.jobs import AnyJob, Estimate, FallbackOut, InlineVideo
from service.api.schemas.problems import problem_docs
from service.api.submit import (
    SUBMIT,
    IdempotencyKey,
    Prefer,
    SubmitRequest,
    accept_job,
    idempotency_of,
    make_submission,
)
from service.domain.price import microusd, month_of
from service.domain.request import VideoParams, VideoRequest
from service.domain.submission import Submission
from service.runtime.runtime import Runtime
from service.store import keys

router = APIRouter(tags=["videos"])


@router.post(
    "/generate-video",
    status_code=202,
    response_model=AnyJob,
    responses={
        200: {
            "model": AnyJob | InlineVideo,
            "description": "The job became final within the wait.",
            **header_docs(*OF_SUBMIT),
        },
        202: {"description": "Accepted, and durable.", **header_docs(*OF_SUBMIT)},
        **problem_docs(*SUBMIT),
    },
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
    submit_request = SubmitRequest(
        body, request, idempotency_of(request, idempotency_key, body.params)
    )
    return await accept_job(context, submit_request, prefer=prefer)


@router.post(
    "/v1/estimate",
    responses=problem_docs(400, "invalid_form", 401, 413, 415, 422, 429, 503, 507),
    openapi_extra=body_of(VideoParams),
)
async def estimate(body: VideoParamsDep, request: Request, context: ContextDep) -> Estimate:
    """Dry run of a submit: resolved parameters, cost, expected seconds and warnings."""
    submission, _ = await make_submission(context, SubmitRequest(body, request))
    runtime, params = context.runtime, body.params
    video_request = submission.request
    card = runtime.cards[video_request.model]
    return Estimate(
        model=card.name,
        sandbox=card.sandbox,
        input=video_request,
        duration_seconds=round(video_request.duration_seconds, 6),
        expected_seconds=round(card.expected_seconds(video_request), 2),
        fallbacks=[FallbackOut.from_domain(fallback) for fallback in submission.fallbacks],
        cost=_cost(submission),
        warnings=[
            *_warnings(runtime, params, video_request),
            *await _budget_warnings(context, submission),
        ],
    )


def _cost(submission: Submission) -> Cost:
    rate = submission.rate
    assert rate is not None, "a submission of the API has a rate"
    return Cost(
        estimated_usd=submission.estimated_usd,
        gpu=rate.gpu,
        usd_per_second=rate.usd_per_second,
        rate_source=rate.source,
    )


async def _budget_warnings(context: RequestContext, submission: Submission) -> list[str]:
    """Warn where the key's budget does not cover the submission."""
    estimate, month = microusd(submission.estimated_usd), month_of(context.runtime.clock())
    balance = await context.runtime.read(lambda tx: keys.balance(tx, context.key.id, month))
    if balance.allows(estimate):
        return []
    usd_left = (balance.remaining or 0) / 1e6
    return [f"${usd_left:.6f} are left of this month's budget: the job would be refused"]


def _warnings(runtime: Runtime, params: VideoParams, request: VideoRequest) -> list[str]:
    warnings, card = [], runtime.cards[request.model]
    if card.sandbox:
        warnings.append(f"{card.name} is a sandbox: it only draws a placeholder")
    if params.duration_seconds not in (None, request.duration_seconds):
        warnings.append(
            f"{params.duration_seconds:g} s becomes {request.num_frames} frames at "
            f"{request.fps} fps, which is {request.duration_seconds:.3f} s"
        )
    ref = next(iter(request.media.values()), None)
    if ref is not None and ref.width is None and (params.width is None or params.height is None):
        warnings.append(
            f"the size of the input is not known yet: {request.width}x{request.height} is the "
            "model's default; set width and height for another aspect ratio"
        )
    if params.seed is None:
        warnings.append("no seed was given: every job gets a random one of its own")
    if runtime.workers.of_model(card.name).count == 0:
        warnings.append(runtime.workers.why_waiting(card.name))
    return warnings
