"""Figures of finished jobs: percentiles by stage, and how far the service keeps its promises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from service.domain.attempt import Stage
from service.domain.job import JobState

# In the order in which a job goes through them. `queue` lasts until the claim of the attempt that
# succeeded, `start` until its worker begins.
STAGES = ("queue", "start", *Stage, "rest")
_WARM_LOAD_MS = 1000  # a model that takes longer to load was not in memory

MAX_WARM_SECONDS = 10.0  # of a five-second video
MIN_SUCCESS = 0.99
MAX_USD_PER_TEN_SECONDS = 0.05


@dataclass(frozen=True)
class FinishedJob:
    """A job that succeeded: its times, its length and its cost in dollars."""

    created_at: datetime
    claimed_at: datetime
    begun_at: datetime
    finished_at: datetime
    timings_ms: Mapping[str, int]
    seconds: float
    cost_usd: float
    is_placeholder: bool = False  # of a sandbox

    def stages_ms(self) -> dict[str, float]:
        """Return the milliseconds of each stage, which add up to the time from submit to end."""
        known = {str(name): float(self.timings_ms.get(name, 0)) for name in Stage}
        at_worker = _ms(self.begun_at, self.finished_at)
        return {
            "queue": _ms(self.created_at, self.claimed_at),
            "start": _ms(self.claimed_at, self.begun_at),
            **known,
            "rest": max(0.0, at_worker - sum(known.values())),
        }

    @property
    def total_ms(self) -> float:
        return _ms(self.created_at, self.finished_at)

    @property
    def is_warm(self) -> bool:
        """Tell whether its model was in memory before."""
        return self.timings_ms.get("load", 0) < _WARM_LOAD_MS


@dataclass(frozen=True)
class StageTimes:
    """A percentile of each stage by itself, and of the whole, in milliseconds."""

    stages: dict[str, float]
    total: float


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of `values` that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def stage_times(jobs: Sequence[FinishedJob], *shares: float) -> list[StageTimes | None]:
    """Return these percentiles of the stages of the jobs; None without a job."""
    if not jobs:
        return [None for _ in shares]
    times = [job.stages_ms() for job in jobs]
    columns = {name: [each[name] for each in times] for name in STAGES}
    totals = [job.total_ms for job in jobs]
    return [
        StageTimes(
            {name: percentile(values, share) for name, values in columns.items()},
            percentile(totals, share),
        )
        for share in shares
    ]


def total_ms(jobs: Sequence[FinishedJob], share: float) -> float | None:
    """Return a percentile of the time from submit to end; None without a job."""
    return percentile([job.total_ms for job in jobs], share) if jobs else None


def cold_start_ms(jobs: Sequence[FinishedJob]) -> float | None:
    """Return how long a worker that was not warm usually took from the claim until the model was in
    memory; None without such a job."""
    times = [job.stages_ms() for job in jobs if not job.is_warm]
    return percentile([each["start"] + each["load"] for each in times], 0.5) if times else None


@dataclass(frozen=True)
class Promise:
    """A promise of the product and its measured value, None where nothing was measured. `jobs` is
    the number of jobs behind it."""

    value: float | None
    bound: float
    jobs: int
    is_kept: bool


def warm_five_seconds(jobs: Sequence[FinishedJob]) -> Promise:
    """Measure the seconds from begin to end of a video of about five seconds on a warm worker, at
    the 95th percentile."""
    seconds = [
        _ms(job.begun_at, job.finished_at) / 1000
        for job in jobs
        if job.is_warm and not job.is_placeholder and 4.5 <= job.seconds <= 5.5
    ]
    value = percentile(seconds, 0.95) if seconds else None
    return Promise(value, MAX_WARM_SECONDS, len(seconds), value is None or value < MAX_WARM_SECONDS)


def success(counts: Mapping[JobState, int], *, user_failures: int) -> Promise:
    """Measure the share of jobs that succeed, among those that ended by themselves. A failure that
    the user must mend is none of the service's."""
    good = counts.get(JobState.SUCCEEDED, 0)
    bad = counts.get(JobState.FAILED, 0) + counts.get(JobState.EXPIRED, 0) - user_failures
    rate = good / (good + bad) if good + bad else None
    return Promise(rate, MIN_SUCCESS, good + bad, rate is None or rate >= MIN_SUCCESS)


def price_of_ten_seconds(jobs: Sequence[FinishedJob], total: int, lost_usd: float) -> Promise:
    """Measure the dollars that ten seconds of video cost. `jobs` represent the `total` that
    succeeded; `lost_usd` was spent on the others."""
    videos = [job for job in jobs if not job.is_placeholder]
    each = total / len(jobs) if jobs else 0.0
    usd = each * sum(job.cost_usd for job in videos) + lost_usd
    seconds = each * sum(job.seconds for job in videos)
    value = 10 * usd / seconds if seconds else None
    is_kept = not usd if value is None else value < MAX_USD_PER_TEN_SECONDS
    return Promise(value, MAX_USD_PER_TEN_SECONDS, len(videos), is_kept)


def _ms(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds() * 1000)
