"""Where a job stands in the queue, without counting rows for every poll."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from service.domain.ids import KeyId
from service.domain.job import RANKS, Job
from service.domain.queue_order import Forecast, QueueOrder, Waiting, in_turn
from service.store import jobs, keys
from service.store.database import Database
from service.store.transaction import Transaction

# A look costs in proportion to the queue; at most this share of the time is spent on looking, so
# a short queue is seen as it is and one of ten thousand as it was some seconds ago.
_SHARE = 1 / 20
_QUICK_SECONDS = 0.005


@dataclass
class _Look:
    """The queue at one moment. `outlooks` is filled as they are asked for."""

    order: list[Waiting]
    busy: list[tuple[str, float]]
    now: datetime
    cost: float  # seconds
    made_at: float
    outlooks: dict[tuple[frozenset[str], int], QueueOrder] = field(default_factory=dict)

    @property
    def stale(self) -> bool:
        return time.perf_counter() >= self.made_at + self.cost / _SHARE

    def outlook(self, models: frozenset[str], workers: int) -> QueueOrder:
        known = self.outlooks.get((models, workers))
        if known is None:
            began = time.perf_counter()
            order = [job for job in self.order if job.model in models]
            busy = [left for model, left in self.busy if model in models]
            known = self.outlooks[models, workers] = QueueOrder(order, busy, workers, self.now)
            self.cost += time.perf_counter() - began
        return known


class QueueForecast:
    """The queue as it was at the last look."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._look: _Look | None = None
        self._looking = Lock()  # held for a whole look
        self._placing = Lock()  # held for an instant

    @property
    def quick(self) -> bool:
        """Whether a look takes no longer than a request may hold up all others."""
        return self._look is None or self._look.cost < _QUICK_SECONDS

    def known(self, job: Job, models: frozenset[str], workers: int) -> Forecast | None:
        """By the last look, at once; None if that is stale and nobody is looking anew."""
        look = self._look
        if look is None or (look.stale and not self._looking.locked()):
            return None
        return self._place(look, job, models, workers)

    def place(self, job: Job, models: frozenset[str], workers: int, now: datetime) -> Forecast:
        """Of a queued job that competes with the jobs of `models` for `workers` workers."""
        with self._looking:
            look = self._look
            if look is None or look.stale:
                look = self._look = self._look_again(now)
        return self._place(look, job, models, workers)

    def _place(self, look: _Look, job: Job, models: frozenset[str], workers: int) -> Forecast:
        with self._placing:
            return look.outlook(models, workers).of(_waiting(job))

    def _look_again(self, now: datetime) -> _Look:
        began = time.perf_counter()
        waiting, served, busy = self._db.read(_read)
        order = in_turn(waiting, served, now)
        done = time.perf_counter()
        return _Look(order, busy, now, cost=done - began, made_at=done)


def _read(tx: Transaction) -> tuple[list[Waiting], dict[KeyId, int], list[tuple[str, float]]]:
    return jobs.waiting(tx), keys.served(tx), jobs.busy(tx)


def _waiting(job: Job) -> Waiting:
    return Waiting(
        job.id, job.key_id, job.request.model, RANKS[job.priority], job.run_at, job.expected_ms
    )
