"""Who is before whom in the queue, and when each may hope to start: arithmetic only."""

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from service.domain.ids import JobId, KeyId


class Waiting(NamedTuple):
    """A queued job, as far as its place counts. `priority` 0 is first."""

    id: JobId
    key_id: KeyId
    model: str
    priority: int
    run_at: datetime
    expected_ms: int


@dataclass(frozen=True)
class Forecast:
    """A job's place: how many are claimed before it, and the milliseconds until it is."""

    position: int
    starts_in_ms: float | None  # None when no worker serves its model


def in_turn(
    waiting: Iterable[Waiting], served: Mapping[KeyId, int], now: datetime
) -> list[Waiting]:
    """The order of claims: by priority, and within it the keys in turn, the one that was served
    longest ago first. What may not run yet comes last, by the time from which it may."""
    turns = dict(served)
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
    """Each job's place, if `workers` take them in this order as they become free.

    `busy_ms` is what each active job may still take; a worker without one is free now.
    """

    def __init__(
        self, order: Sequence[Waiting], busy_ms: Sequence[float], workers: int, now: datetime
    ) -> None:
        free = sorted(busy_ms)[:workers] + [0.0] * (workers - len(busy_ms))
        heapq.heapify(free)
        self._free = free
        self._now = now
        self._starts: list[float | None] = []
        self._known: dict[JobId, Forecast] = {}
        self._counts: Counter[tuple[int, KeyId]] = Counter()
        for place, job in enumerate(order):
            self._append(job)
            self._known[job.id] = Forecast(place, self._starts[place])

    def of(self, job: Waiting) -> Forecast:
        """The place of a job; one that came since the order was made is put where its turn is."""
        known = self._known.get(job.id)
        if known is None:
            place = self._ahead_of(job)
            self._append(job)
            known = self._known[job.id] = Forecast(place, self._starts[place])
        return known

    def _ahead_of(self, job: Waiting) -> int:
        """All of a higher priority, and as many turns of each other key as its own key has had."""
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
