"""Sums that /metrics shows, and what the end of a job adds to them."""

from bisect import bisect_left
from collections import Counter
from datetime import timedelta
from typing import NamedTuple

from service.domain.job import Job
from service.domain.price import microusd

# Upper limits of the buckets of durations, in seconds.
BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200)
INFINITE = "+Inf"

_MILLISECOND = timedelta(milliseconds=1)


class Series(NamedTuple):
    """One sum: a metric's name and the values of its labels, in the metric's order."""

    name: str
    labels: tuple[str, ...]


Sums = Counter[Series]


def of_end(job: Job) -> Sums:
    """Return what a final job adds: durations in milliseconds, costs in millionths of a dollar.

    No label is an id or a text of a user, so that their number stays small.
    """
    model, kind = job.request.model, job.request.kind
    assert job.finished_at is not None, "final"
    sums: Sums = Counter()
    sums[Series("jobs", (kind, model, job.state, job.error.code if job.error else ""))] = 1
    total_ms = (job.finished_at - job.created_at) // _MILLISECOND
    _observe(sums, "job_duration", (model, job.state), total_ms)
    if job.started_at is not None:
        _observe(
            sums,
            "job_stage_duration",
            (model, "queue"),
            (job.started_at - job.created_at) // _MILLISECOND,
        )
    for stage, milliseconds in (job.timings_ms or {}).items():
        if stage != "total":
            _observe(sums, "job_stage_duration", (model, stage), milliseconds)
    sums[Series("gpu_ms", (model, job.gpu or ""))] += round(job.gpu_seconds * 1000)
    sums[Series("cost_microusd", (model,))] += microusd(job.actual_usd or 0.0)
    if job.result is not None:
        video_ms = round(job.result.num_frames / job.result.fps * 1000)
        sums[Series("generated_video_ms", (model,))] += video_ms
    return +sums


def _observe(sums: Sums, name: str, labels: tuple[str, ...], milliseconds: int) -> None:
    """Add a duration to its bucket and to the sum; jumps of the clock may make one negative."""
    milliseconds = max(0, milliseconds)
    place = bisect_left(BUCKETS, milliseconds / 1000)
    limit = f"{BUCKETS[place]:g}" if place < len(BUCKETS) else INFINITE
    sums[Series(f"{name}_bucket", (*labels, limit))] += 1
    sums[Series(f"{name}_ms", labels)] += milliseconds
