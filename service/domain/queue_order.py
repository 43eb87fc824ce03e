"""The order of the queue, and forecasts of when each job starts."""

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from service.domain.ids import JobId, KeyId


class Waiting(NamedTuple):
    """A queued job, as far as its position depends on it. `priority` 0 is first."""

    id: JobId
    key_id: KeyId
    model: str
    priority: int
    run_at: datetime
    expected_ms: int


@dataclass(frozen=True)
class Forecast:
    """A job's position: how many are claimed before it, and the milliseconds until it is."""

    position: int
    starts_in_ms: float | None  # None when no worker serves its model


def in_turn(
    waiting: Iterable[Waiting], last_turns: Mapping[KeyId, int], now: datetime
) -> list[Waiting]:
    """Sort by the order of claims: by priority, and within it the keys in turn, the one whose last
    turn is longest ago first. Jobs that may not start yet come last, by `run_at`."""
    turns = dict(last_turns)
    next_turn = max(turns.values(), default=0) + 1
    order: list[Waiting] = []
    later: list[Waiting] = []
    lanes: defaultdict[int, defaultdict[KeyId, deque[Waiting]]]
    lanes = defaultdict(lambda: defaultdict(deque))
    for job in sorted(waiting, key=lambda job: (job.run_at, job.id)):
        if job.run_at > now:
            later.append(job)
        else:
            lanes[job.priority][job.key_id].append(job)
    for priority in sorted(lanes):
        lane = lanes[priority]
        heap = [(turns.get(key, 0), jobs[0].run_at, jobs[0].id, key) for key, jobs in lane.items()]
        heapq.heapify(heap)
        while heap:
            *_, key = heapq.heappop(heap)
            order.append(lane[key].popleft())
            turns[key] = next_turn
            next_turn += 1
            if lane[key]:
                first = lane[key][0]
                heapq.heappush(heap, (turns[key], first.run_at, first.id, key))
    return order + later


class QueueOrder:
    """Forecasts for jobs that `workers` claim in this order as they become free.

    `busy_ms` holds the remaining milliseconds of each active job; other workers are free now.
    """

    def __init__(
        self, order: Sequence[Waiting], busy_ms: Sequence[float], workers: int, now: datetime
    ) -> None:
        free = sorted(busy_ms)[:workers] + [0.0] * (workers - len(busy_ms))
        heapq.heapify(free)
        self._free = free
        self._now = now
        self._starts: list[float | None] = []
        self._forecasts: dict[JobId, Forecast] = {}
        self._counts: Counter[tuple[int, KeyId]] = Counter()
        for place, job in enumerate(order):
            self._append(job)
            self._forecasts[job.id] = Forecast(place, self._starts[place])

    def of(self, job: Waiting) -> Forecast:
        """Return a job's forecast; a job submitted since is inserted where its turn is."""
        forecast = self._forecasts.get(job.id)
        if forecast is None:
            place = self._ahead_of(job)
            self._append(job)
            forecast = self._forecasts[job.id] = Forecast(place, self._starts[place])
        return forecast

    @property
    def next_start_ms(self) -> float | None:
        """Return when a worker is free for a job behind all others; None without a worker."""
        return self._free[0] if self._free else None

    def _ahead_of(self, job: Waiting) -> int:
        """Count jobs of higher priority, and of each other key at most one more than of its own."""
        own = self._counts[job.priority, job.key_id]
        ahead = 0
        for (priority, key), count in self._counts.items():
            if priority < job.priority:
                ahead += count
            elif priority == job.priority:
                ahead += min(count, own if key == job.key_id else own + 1)
        return ahead

    def _append(self, job: Waiting) -> None:
        self._counts[job.priority, job.key_id] += 1
        if not self._free:
            self._starts.append(None)
            return
        start = max(heapq.heappop(self._free), (job.run_at - self._now).total_seconds() * 1000)
        self._starts.append(start)
        heapq.heappush(self._free, start + job.expected_ms)
