"""The workers: what each does, what it serves, and why one takes no job."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from starlette.responses import Response

from service.admin.visit import Visit, VisitDep, page_router
from service.runtime.fleet import Worker
from service.runtime.runtime import Runtime
from service.store import statistics
from service.store.statistics import OpenAttempt
from service.store.transaction import Transaction

router = page_router("/workers")


@dataclass(frozen=True)
class Workers:
    """All workers of this moment: those that hold a job, and those that poll this process."""

    busy: int
    attempts: list[OpenAttempt]  # what the first of the busy ones do
    polling: Mapping[str, Worker]  # by name, busy ones among them
    idle: list[Worker]
    unfit: list[Worker]  # their machine is faulty, and they take no job
    at: datetime  # now, on the clock of `Worker.last_seen_at`
    containers: Mapping[str, int]  # by model, where a platform starts them

    @property
    def total(self) -> int:
        """Return how many there are; a container that idles polls nobody."""
        here = self.busy + len(self.idle) + len(self.unfit)
        return max(here, sum(self.containers.values()))

    @property
    def warm(self) -> list[str]:
        """Return the models in memory."""
        in_memory = {each.warm for each in self.polling.values() if each.warm is not None}
        return sorted(in_memory | {model for model, number in self.containers.items() if number})


@router.get("")
async def show_workers(visit: VisitDep) -> Response:
    workers = await visit.read(lambda tx: read_workers(tx, visit))
    return await visit.page("workers.html", workers=workers)


@router.get("/now")
async def show_workers_now(visit: VisitDep) -> Response:
    """The part of the page that changes by the second."""
    workers = await visit.read(lambda tx: read_workers(tx, visit))
    return visit.part("workers_now.html", workers=workers)


def read_workers(tx: Transaction, visit: Visit) -> Workers:
    """Read which workers there are, and what each does."""
    fleet, at = visit.runtime.fleet, visit.runtime.clock.passed()
    busy = statistics.busy_workers(tx)
    polling = {worker.name: worker for worker in fleet.present(at)}
    return Workers(
        busy=len(busy),
        attempts=statistics.open_attempts(tx),
        polling=polling,
        idle=[w for w in polling.values() if w.unfit is None and w.name not in busy],
        unfit=[w for w in polling.values() if w.unfit is not None],
        at=at,
        containers=_containers(visit.runtime),
    )


def _containers(runtime: Runtime) -> dict[str, int]:
    if not runtime.workers.max_warm:
        return {}
    return {model: runtime.workers.of_model(model).count for model in runtime.cards}
