"""Health, liveness and readiness. They never start a GPU container."""

from typing import Literal

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel

from service.api.deps import RuntimeDep, runtime_of
from service.api.schemas.responses import header_docs, problem_docs
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


Reason = Literal[
    "no_worker",
    "modal_unreachable",
    "unfit_workers",
    "disk_nearly_full",
    "database_unavailable",
    "standby",
]


class Health(BaseModel):
    """`degraded`: it responds, but something is wrong. `unhealthy`: the database is unavailable or
    read-only, or another process owns it. `reasons` is empty while `healthy`."""

    status: Literal["healthy", "degraded", "unhealthy"]
    reasons: list[Reason]
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
    unfit = [UnfitWorker(**vars(worker)) for worker in runtime.workers.unfit()]
    reasons = _reasons(runtime, models[0].id, is_readable=queue is not None)
    return Health(
        status="unhealthy" if queue is None else "degraded" if reasons else "healthy",
        reasons=reasons,
        model=models[0].id,
        gpu=models[0].gpu,
        warm=models[0].warm,
        version=runtime.version,
        queue=queue,
        models=models,
        unfit_workers=unfit,
    )


def _reasons(runtime: Runtime, model: str, *, is_readable: bool) -> list[Reason]:
    problems: dict[Reason | None, bool] = {
        "database_unavailable": not is_readable,
        runtime.workers.problem(model): True,
        "unfit_workers": bool(runtime.workers.unfit()),
        "disk_nearly_full": not runtime.disk_space.enough,
    }
    return [reason for reason, is_so in problems.items() if reason is not None and is_so]


def _standby(app: FastAPI) -> Health:
    """Report unhealthy, without queue and workers, while another process owns the database."""
    cards: dict[str, ModelCard] = app.state.cards
    models = [ModelHealth(id=name, gpu=None, warm=False, workers=0) for name in cards]
    return Health(
        status="unhealthy",
        reasons=["standby"],
        model=models[0].id,
        gpu=None,
        warm=False,
        version=app.version,
        queue=None,
        models=models,
    )


def _models(runtime: Runtime) -> list[ModelHealth]:
    workers = {name: runtime.workers.of_model(name) for name in runtime.cards}
    return [
        ModelHealth(id=name, gpu=each.gpu, warm=each.is_warm, workers=each.count, calls=each.calls)
        for name, each in workers.items()
    ]


@router.get("/livez")
async def livez() -> Liveness:
    """Liveness: the process responds."""
    return Liveness()


@router.get("/readyz", responses=problem_docs(503))
async def readyz(runtime: RuntimeDep) -> Liveness:
    """Readiness: the database can be read and written."""
    await runtime.check_ready()
    return Liveness()
