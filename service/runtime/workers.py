"""The two kinds of workers, pulled and called, as one process of the API sees them."""

import logging
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event

from service.domain.clock import ServiceClock
from service.domain.errors import Busy, Conflict, FieldError, RequestRefused, Unavailable
from service.domain.job import Job
from service.lifecycle.calls.calls import Calls
from service.lifecycle.workers import ModelWorkers, UnfitWorker, WorkersProblem
from service.runtime.containers import ContainerPools
from service.runtime.fleet import Fleet
from service.runtime.ticker import Repeater

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PulledWorkers:
    """Workers that ask for jobs, and are known by that."""

    fleet: Fleet
    clock: ServiceClock

    def start(self, jobs_due: Event) -> None:
        """Nothing to do: they ask."""

    def close(self) -> None:
        """Nothing was started."""

    def of_model(self, model: str) -> ModelWorkers:
        workers = self.fleet.serving(model, self.clock.passed())
        return ModelWorkers(
            count=len(workers),
            gpu=next((worker.gpu for worker in workers if worker.gpu), None),
            is_warm=any(worker.warm == model for worker in workers),
        )

    def competing(self, model: str) -> tuple[frozenset[str], int]:
        return self.fleet.competing(model, self.clock.passed())

    def problem(self, model: str) -> WorkersProblem | None:
        return None if self.of_model(model).count else "no_worker"

    def why_waiting(self, model: str) -> str:
        return f"no worker serves {model} now"

    def unfit(self) -> list[UnfitWorker]:
        return [
            UnfitWorker(worker.name, worker.unfit)
            for worker in self.fleet.present(self.clock.passed())
            if worker.unfit is not None
        ]

    @property
    def max_warm(self) -> int:
        return 0

    def kept_warm(self, model: str) -> int:
        return self.of_model(model).count

    def check_warm(self, containers: int) -> None:
        raise Conflict(
            "this service has local workers, which are always warm; set RUSHES_WORKERS instead",
            code="local_workers",
        )

    def keep_warm(self, model: str, containers: int) -> None:
        """Nothing to do: they are."""

    def stop(self, job: Job, now: datetime) -> None:
        """It learns of that in the answer to its next report."""

    def poll(self, job: Job, now: datetime) -> None:
        """A silent worker cannot be asked."""


@dataclass
class CalledWorkers:
    """Containers that are started by calls, and counted by their platform."""

    calls: Calls
    pools: ContainerPools
    clock: ServiceClock
    _starter: Repeater | None = field(default=None, init=False)

    def start(self, jobs_due: Event) -> None:
        self._starter = Repeater(self._tick, jobs_due, self.clock)
        self._starter.start()

    def close(self) -> None:
        if self._starter is not None:
            self._starter.stop()

    def of_model(self, model: str) -> ModelWorkers:
        pool = self.pools.current(self.clock.passed()).get(model)
        containers = 0 if pool is None else pool.containers
        gpu = next(iter(self.calls.cards[model].gpus), None)
        return ModelWorkers(containers, gpu, is_warm=containers > 0, calls=pool)

    def competing(self, model: str) -> tuple[frozenset[str], int]:
        return frozenset({model}), self.calls.max_calls

    def problem(self, model: str) -> WorkersProblem | None:
        return "modal_unreachable" if self.pools.is_unreachable else None

    def why_waiting(self, model: str) -> str:
        return f"no container of {model} runs now"

    def unfit(self) -> list[UnfitWorker]:
        return []

    @property
    def max_warm(self) -> int:
        return self.calls.max_calls

    def kept_warm(self, model: str) -> int:
        return self.calls.dispatcher.kept_warm(model)

    def check_warm(self, containers: int) -> None:
        if containers > self.max_warm:
            detail = f"at most {self.max_warm}, set by RUSHES_MODAL_MAX_CONTAINERS"
            raise RequestRefused([FieldError("/containers", detail, "too_many")])

    def keep_warm(self, model: str, containers: int) -> None:
        try:
            self.calls.dispatcher.keep_warm(model, containers)
        except Unavailable as error:
            raise Unavailable(
                f"{error.message}; {containers} is stored, and tried again once Modal answers"
            ) from error

    def stop(self, job: Job, now: datetime) -> None:
        self.calls.stop(job, now)

    def poll(self, job: Job, now: datetime) -> None:
        try:
            self.calls.check(job, now)
            return
        except Busy:
            raise
        except Unavailable as error:
            log.warning("call cannot be polled", extra={"job": job.id, "error": error})
        except Exception as fault:  # one job holds up no other
            log.error("call could not be settled", exc_info=fault, extra={"job": job.id})
        self.calls.defer(job, now)

    def _tick(self, now: datetime) -> None:
        self.pools.current(self.clock.passed())  # keeps the count fresh for /health
        self.calls.tick(now)
