"""Track the live workers in memory, by their polls and reports."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

# A worker polls at least every 20 s, and reports every few seconds during an attempt.
_FORGET_AFTER = timedelta(seconds=45)


@dataclass(frozen=True)
class Worker:
    name: str
    models: tuple[str, ...]
    warm: str | None  # the model in its memory
    gpu: str | None
    last_seen_at: datetime
    unfit: str | None = None  # why it claims no jobs


class Fleet:
    """The workers seen by this process; a restart forgets them until their next request."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._holders: dict[str, str] = {}  # worker names by attempt id

    def record_poll(self, worker: Worker) -> None:
        """Record a worker that polls for a job: it has no attempt any more."""
        self._workers[worker.name] = worker
        self._holders = {key: name for key, name in self._holders.items() if name != worker.name}

    def assign(self, name: str, attempt_id: str) -> None:
        self._holders[attempt_id] = name

    def record_report(self, attempt_id: str, now: datetime) -> None:
        """Record a report of a running attempt as a sign of life of its worker."""
        worker = self._workers.get(self._holders.get(attempt_id, ""))
        if worker is not None:
            self._workers[worker.name] = replace(worker, last_seen_at=now)

    def present(self, now: datetime) -> list[Worker]:
        alive = [w for w in self._workers.values() if now - w.last_seen_at < _FORGET_AFTER]
        self._workers = {worker.name: worker for worker in alive}
        return alive

    def competing(self, model: str, now: datetime) -> tuple[frozenset[str], int]:
        """Return the models that share workers with `model`, and the number of these workers."""
        workers = self.serving(model, now)
        return frozenset({model}.union(*(worker.models for worker in workers))), len(workers)

    def serving(self, model: str, now: datetime) -> list[Worker]:
        return [w for w in self.present(now) if model in w.models and w.unfit is None]
