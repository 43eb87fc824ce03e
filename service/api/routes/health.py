"""Is it up? Answers from memory, one read and a write of nothing; never wakes a GPU."""

from typing import Literal

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel

from service.api.deps import RuntimeDep, runtime_of
from service.api.schemas.headers import sent
from service.api.schemas.problems import documented
from service.domain.call import Pool
from service.domain.errors import Unavailable
from service.domain.models.card import ModelCard
from service.runtime.runtime import Runtime
from service.store import jobs, keys

router = APIRouter(tags=["health"])


class Queue(BaseModel):
    queued: int
    running: int


class ModelHealth(BaseModel):
    """`calls`, where workers are called, as it was some seconds ago; null until it is known."""

    id: str
    gpu: str | None
    warm: bool
    workers: int
    calls: Pool | None = None


class UnfitWorker(BaseModel):
    """A worker that takes no jobs, for its machine is at fault."""

    name: str
    reason: str


class Liveness(BaseModel):
    status: Literal["ok"] = "ok"


class Health(BaseModel):
    """`degraded`: no worker is there (where they are called: they cannot be), one is unfit, or
    there is no room on the disk. `unhealthy`: the database is away, or takes no writes."""

    status: Literal["healthy", "degraded", "unhealthy"]
    model: str
    gpu: str | None
    warm: bool
    version: str
    queue: Queue | None
    models: list[ModelHealth]
    unfit_workers: list[UnfitWorker] = []


_AWAY = {
    "model": Health,
    "description": "The database is away, or takes no writes.",
    **sent("Retry-After"),
}


@router.get("/health", responses={503: _AWAY})
async def health(request: Request, response: Response) -> Health:
    """How the service is."""
    try:
        runtime = runtime_of(request)
    except Unavailable as error:
        response.status_code = 503
        response.headers["Retry-After"] = str(error.retry_after_seconds)
        return _waiting(request.app)
    models = _models(runtime)
    try:
        queue = await runtime.read(
            lambda tx: Queue(queued=keys.count_queued(tx), running=jobs.count_running(tx))
        )
        await runtime.check_ready()
    except Unavailable:
        queue = None
        response.status_code = 503
    reachable = models[0].workers if runtime.pools is None else not runtime.pools.away
    unfit = [
        UnfitWorker(name=worker.name, reason=worker.unfit)
        for worker in runtime.fleet.present(runtime.clock.passed())
        if worker.unfit is not None
    ]
    fine = reachable and runtime.disk_space.enough and not unfit
    status: Literal["healthy", "degraded"] = "healthy" if fine else "degraded"
    return Health(
        status="unhealthy" if queue is None else status,
        model=models[0].id,
        gpu=models[0].gpu,
        warm=models[0].warm,
        version=runtime.version,
        queue=queue,
        models=models,
        unfit_workers=unfit,
    )


def _waiting(app: FastAPI) -> Health:
    """While another process has the database nothing is known of queue and workers."""
    cards: dict[str, ModelCard] = app.state.cards
    models = [ModelHealth(id=name, gpu=None, warm=False, workers=0) for name in cards]
    return Health(
        status="unhealthy",
        model=models[0].id,
        gpu=None,
        warm=False,
        version=app.version,
        queue=None,
        models=models,
    )


def _models(runtime: Runtime) -> list[ModelHealth]:
    if runtime.pools is not None:
        return _called(runtime, runtime.pools.known(runtime.clock.passed()))
    present = [w for w in runtime.fleet.present(runtime.clock.passed()) if w.unfit is None]
    return [
        ModelHealth(
            id=name,
            gpu=next((w.gpu for w in present if name in w.models and w.gpu), None),
            warm=any(w.warm == name for w in present),
            workers=sum(name in w.models for w in present),
        )
        for name in runtime.cards
    ]


def _called(runtime: Runtime, pools: dict[str, Pool]) -> list[ModelHealth]:
    """Of containers that may be away, and come when there is a job."""
    models = []
    for name, card in runtime.cards.items():
        containers = runtime.workers(name)
        models.append(
            ModelHealth(
                id=name,
                gpu=next(iter(card.gpus), None),
                warm=containers > 0,
                workers=containers,
                calls=pools.get(name),
            )
        )
    return models


@router.get("/livez")
async def livez() -> Liveness:
    """The process answers."""
    return Liveness()


@router.get("/readyz", responses=documented(503))
async def readyz(runtime: RuntimeDep) -> Liveness:
    """Jobs can be looked up and accepted: the database is there, and takes writes."""
    await runtime.check_ready()
    return Liveness()
