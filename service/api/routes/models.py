"""List the served models, and keep their containers warm."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from service.api.auth import AdminDep, ContextDep, RequestContext
from service.api.schemas.costs import RateOut
from service.api.schemas.models import ModelList, ModelOut
from service.api.schemas.problems import problem_docs
from service.domain.errors import NotFound
from service.domain.options import WHOLE
from service.log import Log

log = Log(__name__)
router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", responses=problem_docs(401, 429))
async def list_models(context: ContextDep) -> ModelList:
    """All served models, the default first."""
    runtime = context.runtime
    return ModelList(
        data=[
            ModelOut(
                **card.model_dump(),
                id=card.name,
                default=card is runtime.default_card,
                workers=runtime.workers.of_model(card.name).count,
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
    _check_served(model, context)
    containers = await run_in_threadpool(context.runtime.workers.kept_warm, model)
    return WarmContainers(model=model, containers=containers)


@router.put(
    "/{model}/warm",
    responses={**_WARM_PROBLEMS, **problem_docs(400, "local_workers", 413, 415, 422)},
)
async def keep_warm(model: str, body: WarmBody, context: AdminDep) -> WarmContainers:
    """Keep containers of a model warm; idle ones are billed too. A deploy resets the number."""
    _check_served(model, context)
    await run_in_threadpool(context.runtime.workers.keep_warm, model, body.containers)
    log.warning("containers kept warm", model=model, containers=body.containers, key=context.key.id)
    return WarmContainers(model=model, containers=body.containers)


def _check_served(model: str, context: RequestContext) -> None:
    if model not in context.runtime.cards:
        raise NotFound(
            f"no model {model[:64]}; this service has: {', '.join(context.runtime.cards)}"
        )
