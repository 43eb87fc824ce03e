"""Where a job stands in the queue, without counting rows for every poll."""

import time
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from service.domain.job import RANKS, Job, KeyId
from service.domain.line import Forecast, Outlook, Waiting, in_turn
from service.store import jobs, keys
from service.store.database import Database, Transaction

# A look costs in proportion to the queue; at most this share of the time is spent on looking, so
# a short queue is seen as it is and one of ten thousand as it was some seconds ago.
_SHARE = 1 / 20
_QUICK_SECONDS = 0.005


@dataclass(frozen=True)
class _Look:
    """The queue at one moment. `outlooks` is filled as they are asked for."""

    order: list[Waiting]
    busy: list[tuple[str, float]]
    now: datetime
    good_until: float
    outlooks: dict[tuple[frozenset[str], int], Outlook]


class Line:
    """The queue as it was at the last look."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._look: _Look | None = None
        self._cost = 0.0  # seconds, of the last look
        self._lock = Lock()

    @property
    def quick(self) -> bool:
        """Whether a look takes no longer than a request may hold up all others."""
        return self._cost < _QUICK_SECONDS

    def place(self, job: Job, models: frozenset[str], workers: int, now: datetime) -> Forecast:
        """Of a queued job that competes with the jobs of `models` for `workers` workers."""
        with self._lock:
            look = self._look
            if look is None or time.perf_counter() >= look.good_until:
                look = self._look = self._look_again(now)
            return _outlook(look, models, workers).of(_waiting(job))

    def _look_again(self, now: datetime) -> _Look:
        began = time.perf_counter()
        waiting, served, busy = self._db.read(_read)
        order = in_turn(waiting, served, now)
        done = time.perf_counter()
        self._cost = done - began
        return _Look(order, busy, now, done + self._cost / _SHARE, {})


def _outlook(look: _Look, models: frozenset[str], workers: int) -> Outlook:
    known = look.outlooks.get((models, workers))
    if known is None:
        order = [job for job in look.order if job.model in models]
        busy = [left for model, left in look.busy if model in models]
        known = look.outlooks[models, workers] = Outlook(order, busy, workers, look.now)
    return known


def _read(tx: Transaction) -> tuple[list[Waiting], dict[KeyId, int], list[tuple[str, float]]]:
    return jobs.waiting(tx), keys.served(tx), jobs.busy(tx)


def _waiting(job: Job) -> Waiting:
    return Waiting(
        job.id, job.key_id, job.request.model, RANKS[job.priority], job.run_at, job.expected_ms
    )
