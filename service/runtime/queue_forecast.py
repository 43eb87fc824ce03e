"""Forecast queue positions and start times, without counting rows for every poll."""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from service.domain.ids import KeyId
from service.domain.job import RANKS, Job
from service.domain.queue_order import Forecast, QueueOrder, Waiting, in_turn
from service.store import jobs, keys
from service.store.database import Database
from service.store.transaction import Transaction

# Reading costs in proportion to the queue. At most this share of the time is spent on it, so a
# forecast for ten thousand jobs is some seconds old.
_MAX_SHARE = 1 / 20
_FAST_SECONDS = 0.005


@dataclass
class _Snapshot:
    """The queue at one moment; `orders` is filled lazily."""

    queue: list[Waiting]
    busy: list[tuple[str, float]]
    paused: Collection[str]  # models
    now: datetime
    cost: float  # seconds
    made_at: float
    orders: dict[tuple[frozenset[str], int], QueueOrder] = field(default_factory=dict)

    @property
    def is_stale(self) -> bool:
        return time.perf_counter() >= self.made_at + self.cost / _MAX_SHARE

    def order_for(self, models: frozenset[str], workers: int) -> QueueOrder:
        """Return the order of those jobs of `models` that `workers` will claim. Without a worker
        it is that of all, and none of them has a start."""
        order = self.orders.get((models, workers))
        if order is None:
            start = time.perf_counter()
            names = models.difference(self.paused) if workers else models
            queue = [job for job in self.queue if job.model in names]
            busy = [left_ms for model, left_ms in self.busy if model in models]
            order = self.orders[models, workers] = QueueOrder(queue, busy, workers, self.now)
            self.cost += time.perf_counter() - start
        return order


class QueueForecast:
    """Forecasts by the latest snapshot of the queue."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._snapshot: _Snapshot | None = None
        self._reading = Lock()  # held while a snapshot is read
        self._computing = Lock()  # held for an instant

    @property
    def is_fast(self) -> bool:
        """Tell whether a snapshot is read fast enough for the event loop."""
        return self._snapshot is None or self._snapshot.cost < _FAST_SECONDS

    def cached(self, job: Job, models: frozenset[str], workers: int) -> Forecast | None:
        """Forecast by the last snapshot; None if it is stale and no new one is being read."""
        snapshot = self._snapshot
        if snapshot is None or (snapshot.is_stale and not self._reading.locked()):
            return None
        return self._forecast(snapshot, job, models, workers)

    def forecast(self, job: Job, models: frozenset[str], workers: int, now: datetime) -> Forecast:
        """Forecast a queued job that competes with jobs of `models` for `workers` workers."""
        return self._forecast(self._fresh_snapshot(now), job, models, workers)

    def next_start(
        self, model: str, models: frozenset[str], workers: int, now: datetime
    ) -> float | None:
        """Return the milliseconds until one of `workers` is free for a job of `model` behind all
        that wait; None while it is paused."""
        snapshot = self._fresh_snapshot(now)
        if model in snapshot.paused:
            return None
        with self._computing:
            return snapshot.order_for(models, workers).next_start_ms

    def _fresh_snapshot(self, now: datetime) -> _Snapshot:
        with self._reading:
            snapshot = self._snapshot
            if snapshot is None or snapshot.is_stale:
                snapshot = self._snapshot = self._read_snapshot(now)
            return snapshot

    def _forecast(
        self, snapshot: _Snapshot, job: Job, models: frozenset[str], workers: int
    ) -> Forecast:
        if job.request.model in snapshot.paused:
            workers = 0  # nobody knows when it is resumed
        with self._computing:
            return snapshot.order_for(models, workers).of(_waiting(job))

    def _read_snapshot(self, now: datetime) -> _Snapshot:
        start = time.perf_counter()
        waiting, num_served, busy, paused = self._db.read(_read)
        order = in_turn(waiting, num_served, now)
        end = time.perf_counter()
        return _Snapshot(order, busy, paused, now, cost=end - start, made_at=end)


def _read(
    tx: Transaction,
) -> tuple[list[Waiting], dict[KeyId, int], list[tuple[str, float]], Collection[str]]:
    return jobs.waiting(tx), keys.last_turns(tx), jobs.remaining_times(tx), jobs.paused_models(tx)


def _waiting(job: Job) -> Waiting:
    return Waiting(
        job.id, job.key_id, job.request.model, RANKS[job.priority], job.run_at, job.expected_ms
    )
