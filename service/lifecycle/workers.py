"""The workers of a service: they ask for jobs (pulled), or are started for them (called)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from service.domain.call import Pool
from service.domain.job import Job


@dataclass(frozen=True)
class ModelWorkers:
    """The workers that can run one model now. `calls` is None until they have been counted."""

    count: int = 0
    gpu: str | None = None
    is_warm: bool = False
    calls: Pool | None = None


@dataclass(frozen=True)
class UnfitWorker:
    """A worker that takes no jobs, because its machine is at fault."""

    name: str
    reason: str


class Workers(Protocol):
    """What the API and the ticks need to know of workers, and ask of them."""

    def of_model(self, model: str) -> ModelWorkers:
        """Answer at once, from what was last heard or counted."""

    def competing(self, model: str) -> tuple[frozenset[str], int]:
        """The models whose jobs go to the same workers as those of `model`, and how many workers
        those are."""

    def can_run(self, model: str) -> bool:
        """Tell whether a job of this model would be started, now or after a cold start."""

    def why_waiting(self, model: str) -> str:
        """Say in words what a job waits for while the model has no worker."""

    def unfit(self) -> list[UnfitWorker]:
        """List the workers that cannot work."""

    def kept_warm(self, model: str) -> int:
        """Count the workers that are kept, work or not. Raises Unavailable."""

    def keep_warm(self, model: str, containers: int) -> None:
        """Keep that many. Raises Conflict where workers are pulled, RequestRefused for more than
        there may be, and Unavailable."""

    def stop(self, job: Job, now: datetime) -> None:
        """End the work on a job that nobody waits for any more, as far as it can be ended from
        here; never raises."""

    def ask(self, job: Job, now: datetime) -> None:
        """Learn how a silent job stands, and move it accordingly. Raises Busy."""

    @property
    def start_due(self) -> Callable[[datetime], None] | None:
        """Start workers for jobs that are due; None where workers ask for jobs themselves."""
