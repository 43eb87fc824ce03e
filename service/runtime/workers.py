"""The two kinds of workers, pulled and called, as one process of the API sees them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from service.domain.clock import ServiceClock
from service.domain.errors import Busy, Conflict, FieldError, RequestRefused, Unavailable
from service.domain.job import Job
from service.domain.models.card import ModelCard
from service.lifecycle.calls.calls import Calls
from service.lifecycle.workers import ModelWorkers, UnfitWorker
from service.log import Log
from service.runtime.containers import ContainerPools
from service.runtime.fleet import Fleet

log = Log(__name__)


@dataclass(frozen=True)
class PulledWorkers:
    """Workers that ask for jobs, and are known by that."""

    fleet: Fleet
    clock: ServiceClock

    def of_model(self, model: str) -> ModelWorkers:
        workers = self.fleet.able(model, self.clock.passed())
        return ModelWorkers(
            count=len(workers),
            gpu=next((worker.gpu for worker in workers if worker.gpu), None),
            is_warm=any(worker.warm == model for worker in workers),
        )

    def competing(self, model: str) -> tuple[frozenset[str], int]:
        return self.fleet.competing(model, self.clock.passed())

    def can_run(self, model: str) -> bool:
        return self.of_model(model).count > 0

    def why_waiting(self, model: str) -> str:
        return f"no worker serves {model} just now: a job would wait for one"

    def unfit(self) -> list[UnfitWorker]:
        return [
            UnfitWorker(worker.name, worker.unfit)
            for worker in self.fleet.present(self.clock.passed())
            if worker.unfit is not None
        ]

    def kept_warm(self, model: str) -> int:
        return self.of_model(model).count

    def keep_warm(self, model: str, containers: int) -> None:
        raise Conflict(
            "this service has local workers, which are always warm; RUSHES_WORKERS is their number",
            code="local_workers",
        )

    def stop(self, job: Job, now: datetime) -> None:
        """It learns of that in the answer to its next report."""

    def ask(self, job: Job, now: datetime) -> None:
        """A worker that is silent cannot be asked."""

    @property
    def start_due(self) -> Callable[[datetime], None] | None:
        return None


@dataclass(frozen=True)
class CalledWorkers:
    """Containers that are started by calls, and counted by their platform."""

    calls: Calls
    pools: ContainerPools
    cards: dict[str, ModelCard]
    clock: ServiceClock

    def of_model(self, model: str) -> ModelWorkers:
        pool = self.pools.known(self.clock.passed()).get(model)
        containers = 0 if pool is None else pool.containers
        gpu = next(iter(self.cards[model].gpus), None)
        return ModelWorkers(containers, gpu, is_warm=containers > 0, calls=pool)

    def competing(self, model: str) -> tuple[frozenset[str], int]:
        return frozenset({model}), self.calls.max_open

    def can_run(self, model: str) -> bool:
        return not self.pools.away

    def why_waiting(self, model: str) -> str:
        return f"no container of {model} runs just now: a job waits until one is started"

    def unfit(self) -> list[UnfitWorker]:
        return []

    def kept_warm(self, model: str) -> int:
        return self.calls.dispatcher.kept_warm(model)

    def keep_warm(self, model: str, containers: int) -> None:
        if containers > self.calls.max_open:
            detail = f"at most {self.calls.max_open}, which is RUSHES_MODAL_MAX_CONTAINERS"
            raise RequestRefused([FieldError("/containers", detail, "too_many")])
        self.calls.dispatcher.keep_warm(model, containers)

    def stop(self, job: Job, now: datetime) -> None:
        self.calls.stop(job, now)

    def ask(self, job: Job, now: datetime) -> None:
        try:
            self.calls.look(job, now)
            return
        except Busy:
            raise
        except Unavailable as error:
            log.warning("call cannot be asked", job=job.id, error=error)
        except Exception as fault:  # noqa: BLE001 - one job holds up no other
            log.error("call could not be judged", fault, job=job.id)
        self.calls.wait_bounded(job, now)

    @property
    def start_due(self) -> Callable[[datetime], None] | None:
        return self._tick

    def _tick(self, now: datetime) -> None:
        # Counted again now and then, so that /health need not be asked twice.
        self.pools.known(self.clock.passed())
        self.calls.tick(now)
