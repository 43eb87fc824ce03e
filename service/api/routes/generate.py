"""Submit a video, or ask what it would become."""

from fastapi import APIRouter, Request, Response

from service.api.auth import ContextDep, RequestContext
from service.api.body.parse import VideoParamsDep, body_of
from service.api.schemas.costs import Cost
from service.api.schemas.headers import OF_SUBMIT, sent
from service.api.schemas.jobs import AnyJob, Estimate, FallbackOut, InlineVideo
from service.api.schemas.problems import documented
from service.api.submit import (
    SUBMIT,
    IdempotencyKey,
    Prefer,
    SubmitRequest,
    accept,
    idempotency,
    submission,
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
            "description": "Final within the wait.",
            **sent(*OF_SUBMIT),
        },
        202: {"description": "Accepted, and on disk.", **sent(*OF_SUBMIT)},
        **documented(*SUBMIT),
    },
    openapi_extra=body_of(VideoParams),
)
async def generate_video(
    asked: VideoParamsDep,
    request: Request,
    context: ContextDep,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accept a video job. It is durable when this answers."""
    submit_request = SubmitRequest(asked, request, idempotency(request, idempotency_key, asked.ask))
    return await accept(context, submit_request, prefer=prefer)


@router.post(
    "/v1/estimate",
    responses=documented(400, "invalid_form", 401, 413, 415, 422, 429, 503, 507),
    openapi_extra=body_of(VideoParams),
)
async def estimate(asked: VideoParamsDep, request: Request, context: ContextDep) -> Estimate:
    """Resolve a request without starting anything: parameters, cost, seconds, warnings."""
    would_be, _ = await submission(context, SubmitRequest(asked, request))
    runtime, ask = context.runtime, asked.ask
    made = would_be.request
    card = runtime.cards[made.model]
    return Estimate(
        model=card.name,
        sandbox=card.sandbox,
        input=made,
        duration_seconds=round(made.duration_seconds, 6),
        expected_seconds=round(card.expected_seconds(made), 2),
        fallbacks=[FallbackOut.from_domain(each) for each in would_be.fallbacks],
        cost=_cost(would_be),
        warnings=[*_warnings(runtime, ask, made), *await _too_dear(context, would_be)],
    )


def _cost(asked: Submission) -> Cost:
    rate = asked.rate
    assert rate is not None, "what came in by the door has a rate"
    return Cost(
        estimated_usd=asked.estimated_usd,
        gpu=rate.gpu,
        usd_per_second=rate.usd_per_second,
        rate_source=rate.source,
    )


async def _too_dear(context: RequestContext, asked: Submission) -> list[str]:
    """What a submit would be refused for, as things stand."""
    estimate, month = microusd(asked.estimated_usd), month_of(context.runtime.clock())
    balance = await context.runtime.read(lambda tx: keys.balance(tx, context.key.id, month))
    if balance.allows(estimate):
        return []
    return [
        f"${(balance.left or 0) / 1e6:.6f} are left of this month's budget: it would be refused"
    ]


def _warnings(runtime: Runtime, ask: VideoParams, made: VideoRequest) -> list[str]:
    found, card = [], runtime.cards[made.model]
    if card.sandbox:
        found.append(f"{card.name} is a sandbox: it draws a placeholder and generates no video")
    if ask.duration_seconds not in (None, made.duration_seconds):
        found.append(
            f"{ask.duration_seconds:g} s becomes {made.num_frames} frames at {made.fps} fps, "
            f"which is {made.duration_seconds:.3f} s"
        )
    guide = next(iter(made.media.values()), None)
    if guide is not None and guide.width is None and (ask.width is None or ask.height is None):
        found.append(
            f"the size of what is given is not known yet: {made.width}x{made.height} is the "
            "model's default; name width and height for another shape"
        )
    if ask.seed is None:
        found.append("no seed was given: every job gets a random one of its own")
    if runtime.workers(card.name) == 0:
        found.append(
            f"no worker serves {card.name} just now: a job would wait for one"
            if runtime.calls is None
            else f"no container of {card.name} runs just now: a job waits until one is started"
        )
    return found
