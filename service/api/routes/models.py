"""List the served models, and keep their containers warm."""

import logging
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from service.api.deps import AdminDep, ContextDep
from service.api.schemas.costs import RateOut
from service.api.schemas.models import ModelList, ModelOut, ModelPause
from service.api.schemas.responses import problem_docs
from service.domain.errors import FieldError, RequestRefused
from service.domain.request import WHOLE
from service.lifecycle import pause
from service.store import jobs

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", responses=problem_docs(401, 429))
async def list_models(context: ContextDep) -> ModelList:
    """All served models, the default first."""
    runtime = context.runtime
    paused_since = await runtime.read(jobs.paused_models)
    return ModelList(
        data=[
            ModelOut(
                **card.model_dump(),
                id=card.name,
                default=card is runtime.default_card,
                workers=runtime.workers.of_model(card.name).count,
                paused_at=paused_since.get(card.name),
                rate=RateOut.from_domain(runtime.terms.rates.expected(card.name)),
            )
            for card in runtime.cards.values()
        ]
    )


class WarmBody(BaseModel):
    """The number of containers to keep warm; 0 stops all of them when idle."""

    model_config = ConfigDict(extra="forbid", strict=True)

    containers: Annotated[int, Field(ge=0), WHOLE]


class WarmContainers(BaseModel):
    """The number of a model's containers that are kept warm."""

    model: str
    containers: int


_WARM_PROBLEMS = problem_docs(401, 403, 404, 429, 503)


@router.get("/{model}/warm", responses=_WARM_PROBLEMS)
async def show_warm(model: str, context: AdminDep) -> WarmContainers:
    """Return how many workers of a model are kept warm. All local workers are."""
    context.runtime.check_served(model)
    containers = await run_in_threadpool(context.runtime.workers.kept_warm, model)
    return WarmContainers(model=model, containers=containers)


@router.put(
    "/{model}/warm",
    responses={**_WARM_PROBLEMS, **problem_docs(400, "local_workers", 413, 415, 422)},
)
async def keep_warm(model: str, body: WarmBody, context: AdminDep) -> WarmContainers:
    """Keep containers of a model warm, over deploys too; idle ones are billed."""
    context.runtime.check_served(model)
    runtime, actor = context.runtime, context.key.id
    number = body.containers
    now = runtime.clock()
    await run_in_threadpool(pause.keep_warm, runtime.db, runtime.workers, model, number, actor, now)
    log.warning("containers kept warm", extra={"model": model, "containers": number, "key": actor})
    return WarmContainers(model=model, containers=number)


_PAUSE_PROBLEMS = problem_docs(401, 403, 404, 429, 503)


@router.put("/{model}/paused", responses={**_PAUSE_PROBLEMS, **problem_docs(413, 415, 422)})
async def pause_model(model: str, request: Request, context: AdminDep) -> ModelPause:
    """Start no more jobs of a model: they wait, their start deadlines do not run, and local workers
    free its memory. Running jobs go on. It takes no body."""
    context.runtime.check_served(model)
    if b"".join((await request.body()).split()) not in (b"", b"{}"):
        # `{"paused": false}` must not pause it.
        detail = "this takes no body: PUT pauses the model, DELETE of the same path resumes it"
        raise RequestRefused([FieldError("", detail, "unexpected_body")])
    runtime, actor = context.runtime, context.key.id
    at = await runtime.write(lambda tx: pause.pause(tx, model, actor, runtime.clock()))
    log.warning("model paused", extra={"model": model, "key": actor})
    return ModelPause(model=model, paused_at=at)


@router.delete("/{model}/paused", responses=_PAUSE_PROBLEMS)
async def resume_model(model: str, context: AdminDep) -> ModelPause:
    """Start jobs of a paused model again, which may be one that is no longer served."""
    runtime, actor = context.runtime, context.key.id
    if not await runtime.write(lambda tx: pause.resume(tx, model, actor, runtime.clock())):
        context.runtime.check_served(model)
    log.warning("model resumed", extra={"model": model, "key": actor})
    return ModelPause(model=model, paused_at=None)
