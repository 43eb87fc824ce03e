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
async def list_models(visit: ContextDep) -> ModelList:
    """The cards, the default first."""
    parts = visit.parts
    return ModelList(
        data=[
            ModelOut(
                **card.model_dump(),
                id=card.name,
                default=card is parts.default_card,
                workers=parts.workers(card.name),
                rate=RateOut.from_domain(parts.terms.rates.expected(card.name)),
            )
            for card in parts.cards.values()
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
async def show_warm(model: str, visit: AdminDep) -> Warm:
    """How many workers of a model are kept warm. Local workers all are."""
    _served(model, visit)
    parts = visit.parts
    if parts.calls is None:
        return Warm(model=model, containers=parts.workers(model))
    kept = await run_in_threadpool(parts.calls.dispatcher.kept_warm, model)
    return Warm(model=model, containers=kept)


@router.put("/{model}/warm", responses={**_warm, **documented(400, "local_workers", 413, 415, 422)})
async def keep_warm(model: str, ask: WarmBody, visit: AdminDep) -> Warm:
    """Keep containers of a model, which are paid for also while they are idle. The next deploy
    puts back what the settings say."""
    _served(model, visit)
    dispatcher = _called(visit, ask.containers)
    await run_in_threadpool(dispatcher.keep_warm, model, ask.containers)
    log.warning("containers kept warm", model=model, containers=ask.containers, key=visit.key.id)
    return Warm(model=model, containers=ask.containers)


def _served(model: str, visit: RequestContext) -> None:
    if model not in visit.parts.cards:
        raise NotFound(f"no model {model[:64]} here; there is: {', '.join(visit.parts.cards)}")


def _called(visit: RequestContext, containers: int) -> Dispatcher:
    """Who keeps that many. Raises Conflict where workers are not called."""
    calls = visit.parts.calls
    if calls is None:
        raise Conflict(
            "this service has local workers, which are always warm; RUSHES_WORKERS is their number",
            code="local_workers",
        )
    if containers > calls.most:
        detail = f"at most {calls.most}, which is RUSHES_MODAL_MAX_CONTAINERS"
        raise RequestRefused([FieldError("/containers", detail, "too_many")])
    return calls.dispatcher
