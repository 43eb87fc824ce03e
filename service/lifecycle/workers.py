"""The workers of a service: they ask for jobs (pulled), or are started for them (called)."""

from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import Literal, Protocol

from service.domain.call import Pool
from service.domain.job import Job

WorkersProblem = Literal["no_worker", "modal_unreachable"]


@dataclass(frozen=True)
class ModelWorkers:
    """The workers that can run one model now. `calls` is None until they have been counted."""

    count: int = 0
    gpu: str | None = None
    is_warm: bool = False
    calls: Pool | None = None


@dataclass(frozen=True)
class UnfitWorker:
    """A worker that claims no jobs, because its machine is at fault."""

    name: str
    reason: str


class Workers(Protocol):
    """The questions and requests that the API and the ticks have for workers."""

    def start(self, jobs_due: Event) -> None:
        """Begin to start workers whenever `jobs_due` is set, where they do not ask for jobs."""

    def close(self) -> None:
        """Start no more workers."""

    def of_model(self, model: str) -> ModelWorkers:
        """Answer at once, from the last poll or count."""

    def competing(self, model: str) -> tuple[frozenset[str], int]:
        """Return the models that share workers with `model`, and the number of these workers."""

    def problem(self, model: str) -> WorkersProblem | None:
        """Name what keeps jobs of this model from being started, now or after a cold start."""

    def why_waiting(self, model: str) -> str:
        """Say in words that the model has no worker now."""

    def unfit(self) -> list[UnfitWorker]:
        """List the workers that cannot work."""

    @property
    def max_warm(self) -> int:
        """Return how many containers of a model may be kept warm; 0: workers are pulled."""

    def kept_warm(self, model: str) -> int:
        """Count the workers that are kept warm. Raises Unavailable."""

    def check_warm(self, containers: int) -> None:
        """Raise Conflict where workers are pulled, and RequestRefused for more than may be kept."""

    def keep_warm(self, model: str, containers: int) -> None:
        """Keep as many warm as the database says now. Raises Unavailable; it is repeated."""

    def stop(self, job: Job, now: datetime) -> None:
        """End the attempt of a job whose result nobody needs, as far as that can be done from here;
        never raises."""

    def poll(self, job: Job, now: datetime) -> None:
        """Learn how the attempt of a silent worker stands, and settle it. Raises Busy."""
