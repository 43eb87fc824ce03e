"""Which workers there are, as far as they have been heard of lately. Never written down."""

from dataclasses import dataclass, replace
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
    unfit: str | None = None  # why it takes no jobs


class Fleet:
    """The workers of this process; a restart forgets them until they speak again."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._holders: dict[str, str] = {}  # attempt id -> worker's name

    def asked(self, worker: Worker) -> None:
        """It wants work, and is heard of by that; what it still finishes need not tell of it."""
        self._workers[worker.name] = worker
        self._holders = {held: name for held, name in self._holders.items() if name != worker.name}

    def took(self, name: str, attempt_id: str) -> None:
        self._holders[attempt_id] = name

    def reported(self, attempt_id: str, now: datetime) -> None:
        """A worker that is busy is not gone."""
        worker = self._workers.get(self._holders.get(attempt_id, ""))
        if worker is not None:
            self._workers[worker.name] = replace(worker, heard_at=now)

    def present(self, now: datetime) -> list[Worker]:
        alive = [w for w in self._workers.values() if now - w.heard_at < _FORGET_AFTER]
        self._workers = {worker.name: worker for worker in alive}
        return alive

    def serving(self, model: str, now: datetime) -> int:
        """How many workers can make videos with `model`."""
        return len(self._able(model, now))

    def competing(self, model: str, now: datetime) -> tuple[frozenset[str], int]:
        """The models whose jobs go to the same workers as those of `model`, and how many workers
        that are."""
        able = self._able(model, now)
        return frozenset({model}.union(*(worker.models for worker in able))), len(able)

    def _able(self, model: str, now: datetime) -> list[Worker]:
        return [w for w in self.present(now) if model in w.models and w.unfit is None]
