"""Which workers there are, as far as they have been heard of lately. Never written down."""

from dataclasses import dataclass
from datetime import datetime, timedelta

# A worker asks for work at least every 20 s and reports every few seconds while it has some.
_FORGET_AFTER = timedelta(seconds=45)


@dataclass(frozen=True)
class Worker:
    name: str
    models: tuple[str, ...]
    warm: str | None  # the model it holds in memory
    gpu: str | None
    heard_at: datetime


class Fleet:
    """The workers of this process; a restart forgets them until they speak again."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}

    def saw(self, worker: Worker) -> None:
        self._workers[worker.name] = worker

    def heard(self, name: str, now: datetime) -> None:
        """A report of a worker that is busy, so that it does not look gone."""
        known = self._workers.get(name)
        if known is not None:
            self._workers[name] = Worker(
                known.name, known.models, known.warm, known.gpu, heard_at=now
            )

    def present(self, now: datetime) -> list[Worker]:
        alive = [w for w in self._workers.values() if now - w.heard_at < _FORGET_AFTER]
        self._workers = {worker.name: worker for worker in alive}
        return alive

    def serving(self, model: str, now: datetime) -> int:
        """How many workers can make videos with `model`."""
        return sum(model in worker.models for worker in self.present(now))
