"""Which models this service serves, what each can make, and how many are kept warm."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from service.api.auth import AdminDep, ContextDep, RequestContext
from service.api.schemas.costs import RateOut
from service.api.schemas.models import ModelList, ModelOut
from service.api.schemas.problems import documented
from service.domain.errors import Conflict, FieldError, NotFound, RequestRefused
from service.domain.ports import Dispatcher
from service.domain.request import WHOLE
from service.log import Log

log = Log(__name__)
router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", responses=documented(401, 429))
async def list_models(context: ContextDep) -> ModelList:
    """The cards, the default first."""
    runtime = context.runtime
    return ModelList(
        data=[
            ModelOut(
                **card.model_dump(),
                id=card.name,
                default=card is runtime.default_card,
                workers=runtime.workers(card.name),
                rate=RateOut.from_domain(runtime.terms.rates.expected(card.name)),
            )
            for card in runtime.cards.values()
        ]
    )


class WarmBody(BaseModel):
    """How many containers to keep, work or not; 0 lets all of them go when they are idle."""

    model_config = ConfigDict(extra="forbid", strict=True)

    containers: Annotated[int, Field(ge=0), WHOLE]


class Warm(BaseModel):
    """How many of a model's workers are kept, work or not."""

    model: str
    containers: int


_warm = documented(401, 403, 404, 429, 503)


@router.get("/{model}/warm", responses=_warm)
async def show_warm(model: str, context: AdminDep) -> Warm:
    """How many workers of a model are kept warm. Local workers all are."""
    _served(model, context)
    runtime = context.runtime
    if runtime.calls is None:
        return Warm(model=model, containers=runtime.workers(model))
    kept = await run_in_threadpool(runtime.calls.dispatcher.kept_warm, model)
    return Warm(model=model, containers=kept)


@router.put("/{model}/warm", responses={**_warm, **documented(400, "local_workers", 413, 415, 422)})
async def keep_warm(model: str, ask: WarmBody, context: AdminDep) -> Warm:
    """Keep containers of a model, which are paid for also while they are idle. The next deploy
    puts back what the settings say."""
    _served(model, context)
    dispatcher = _called(context, ask.containers)
    await run_in_threadpool(dispatcher.keep_warm, model, ask.containers)
    log.warning("containers kept warm", model=model, containers=ask.containers, key=context.key.id)
    return Warm(model=model, containers=ask.containers)


def _served(model: str, context: RequestContext) -> None:
    if model not in context.runtime.cards:
        raise NotFound(f"no model {model[:64]} here; there is: {', '.join(context.runtime.cards)}")


def _called(context: RequestContext, containers: int) -> Dispatcher:
    """Who keeps that many. Raises Conflict where workers are not called."""
    calls = context.runtime.calls
    if calls is None:
        raise Conflict(
            "this service has local workers, which are always warm; RUSHES_WORKERS is their number",
            code="local_workers",
        )
    if containers > calls.most:
        detail = f"at most {calls.most}, which is RUSHES_MODAL_MAX_CONTAINERS"
        raise RequestRefused([FieldError("/containers", detail, "too_many")])
    return calls.dispatcher
