"""Health, liveness and readiness. They never start a GPU container."""

from typing import Literal

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel

from service.api.deps import RuntimeDep, runtime_of
from service.api.schemas.headers import header_docs
from service.api.schemas.problems import problem_docs
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
    """A model's workers. `calls`: its containers some seconds ago, null until known."""

    id: str
    gpu: str | None
    warm: bool
    workers: int
    calls: Pool | None = None


class UnfitWorker(BaseModel):
    """A worker that claims no jobs because its machine is faulty."""

    name: str
    reason: str


class Liveness(BaseModel):
    status: Literal["ok"] = "ok"


class Health(BaseModel):
    """`degraded`: no worker is reachable, one is unfit, or the disk is nearly full.
    `unhealthy`: the database is unavailable or read-only."""

    status: Literal["healthy", "degraded", "unhealthy"]
    model: str
    gpu: str | None
    warm: bool
    version: str
    queue: Queue | None
    models: list[ModelHealth]
    unfit_workers: list[UnfitWorker] = []


_UNAVAILABLE = {
    "model": Health,
    "description": "The database is unavailable or read-only.",
    **header_docs("Retry-After"),
}


@router.get("/health", responses={503: _UNAVAILABLE})
async def health(request: Request, response: Response) -> Health:
    """Status of the service, its queue and its workers."""
    try:
        runtime = runtime_of(request)
    except Unavailable as error:
        response.status_code = 503
        response.headers["Retry-After"] = str(error.retry_after_seconds)
        return _standby(request.app)
    models = _models(runtime)
    try:
        queue = await runtime.read(
            lambda tx: Queue(queued=keys.count_queued(tx), running=jobs.count_running(tx))
        )
        await runtime.check_ready()
    except Unavailable:
        queue = None
        response.status_code = 503
    reachable = models[0].workers if runtime.pools is None else not runtime.pools.is_unreachable
    unfit = [
        UnfitWorker(name=worker.name, reason=worker.unfit)
        for worker in runtime.fleet.present(runtime.clock.passed())
        if worker.unfit is not None
    ]
    is_healthy = reachable and runtime.disk_space.enough and not unfit
    status: Literal["healthy", "degraded"] = "healthy" if is_healthy else "degraded"
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


def _standby(app: FastAPI) -> Health:
    """Report unhealthy, without queue and workers, while another process owns the database."""
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
        return _container_health(runtime, runtime.pools.current(runtime.clock.passed()))
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


def _container_health(runtime: Runtime, pools: dict[str, Pool]) -> list[ModelHealth]:
    """Report the containers of each model; none may run while there is no job."""
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
    """Liveness: the process responds."""
    return Liveness()


@router.get("/readyz", responses=problem_docs(503))
async def readyz(runtime: RuntimeDep) -> Liveness:
    """Readiness: the database can be read and written."""
    await runtime.check_ready()
    return Liveness()
