"""Sums that /metrics shows, and what the end of a job adds to them."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from service.domain.attempt import FailureKind
from service.domain.event import DeliveryState
from service.domain.job import FINAL, Job, JobState
from service.domain.price import microusd

# Upper limits of the buckets of durations, in seconds.
BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200)
INFINITE = "+Inf"

_MILLISECOND = timedelta(milliseconds=1)


class Metric(NamedTuple):
    """A sum as it is shown: its name and help, its labels, and what to divide it by."""

    name: str
    text: str
    labels: tuple[str, ...]
    divisor: int = 1


# By the names under which they are stored.
COUNTERS = {
    "jobs": Metric("jobs", "Jobs that ended.", ("kind", "model", "status", "error_code")),
    "job_failures": Metric(
        "job_failures", "Jobs that failed or expired; cause: who must act.", ("model", "cause")
    ),
    "gpu_ms": Metric("gpu_seconds", "GPU time of the jobs that ended.", ("model", "gpu"), 1000),
    "cost_microusd": Metric("cost_usd", "What the jobs that ended cost.", ("model",), 1_000_000),
    "generated_video_ms": Metric(
        "generated_video_seconds", "Length of the videos that were made.", ("model",), 1000
    ),
    "webhook_deliveries": Metric(
        "webhook_deliveries", "Webhook deliveries that are settled.", ("outcome",)
    ),
}
HISTOGRAMS = {
    "job_duration": Metric("job_duration_seconds", "From submit to end.", ("model", "status")),
    "job_stage_duration": Metric(
        "job_stage_duration_seconds",
        "Stages of an attempt; queue: submit to begin.",
        ("model", "stage"),
    ),
}


class Series(NamedTuple):
    """One sum: the name under which it is stored and the values of its labels, in their order."""

    name: str
    labels: tuple[str, ...]


Sums = Counter[Series]


def series(name: str, **labels: str) -> Series:
    """Return the series of a counter with these labels."""
    return Series(name, tuple(labels[label] for label in COUNTERS[name].labels))


def zeros(models: Mapping[str, str]) -> Sums:
    """Return 0 for the sums whose labels are known before their first event, of models with the
    kinds of their jobs. Prometheus would see no increase in a sum that begins at 1."""
    outcomes = set(DeliveryState) - {DeliveryState.PENDING}
    start = [series("webhook_deliveries", outcome=outcome) for outcome in outcomes]
    for model, kind in models.items():
        start += [
            series("jobs", kind=kind, model=model, status=state, error_code="")
            for state in FINAL - {JobState.FAILED}  # which has a code
        ]
        start += [
            series("job_failures", model=model, cause=cause)
            for cause in (*FailureKind, JobState.EXPIRED)
        ]
        start += [series(name, model=model) for name in ("cost_microusd", "generated_video_ms")]
    return Sums(dict.fromkeys(start, 0))


def of_end(job: Job) -> Sums:
    """Return what a final job adds: durations in milliseconds, costs in millionths of a dollar.

    No label is an id or a text of a user, so that their number stays small.
    """
    model, kind, state = job.request.model, job.request.kind, job.state
    assert job.finished_at is not None, "final"
    sums: Sums = Counter()
    code = job.error.code if job.error else ""
    sums[series("jobs", kind=kind, model=model, status=state, error_code=code)] = 1
    if state in (JobState.FAILED, JobState.EXPIRED):
        cause = job.error.kind if job.error else state
        sums[series("job_failures", model=model, cause=cause)] = 1
    total_ms = (job.finished_at - job.created_at) // _MILLISECOND
    _observe(sums, "job_duration", total_ms, model=model, status=state)
    if job.started_at is not None:
        queue_ms = (job.started_at - job.created_at) // _MILLISECOND
        _observe(sums, "job_stage_duration", queue_ms, model=model, stage="queue")
    times = job.timings_ms if job.timings_ms and job.result is not None else {}
    for stage, milliseconds in times.items():
        if stage != "total":
            _observe(sums, "job_stage_duration", milliseconds, model=model, stage=stage)
    sums[series("gpu_ms", model=model, gpu=job.gpu or "")] += round(job.gpu_seconds * 1000)
    sums[series("cost_microusd", model=model)] += microusd(job.actual_usd or 0.0)
    if job.result is not None:
        video_ms = round(job.result.num_frames / job.result.fps * 1000)
        sums[series("generated_video_ms", model=model)] += video_ms
    return +sums


def _observe(sums: Sums, name: str, milliseconds: int, **labels: str) -> None:
    """Add a duration to its bucket and to the sum; jumps of the clock may make one negative."""
    milliseconds = max(0, milliseconds)
    place = bisect_left(BUCKETS, milliseconds / 1000)
    limit = f"{BUCKETS[place]:g}" if place < len(BUCKETS) else INFINITE
    values = tuple(labels[label] for label in HISTOGRAMS[name].labels)
    sums[Series(f"{name}_bucket", (*values, limit))] += 1
    sums[Series(f"{name}_ms", values)] += milliseconds
