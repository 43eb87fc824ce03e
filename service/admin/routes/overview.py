"""The overview: what waits, runs, fails and costs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response

from service.admin.charts import Bar
from service.admin.job_query import JobQuery
from service.admin.routes.workers import Workers, read_workers
from service.admin.visit import Visit, VisitDep, page_router
from service.domain import service_level
from service.domain.ids import JobId, KeyId
from service.domain.job import JobState
from service.domain.service_level import FinishedJob, Promise, StageTimes
from service.domain.window import Length, Window
from service.runtime.diagnosis import Reason, read_situation, why_waiting
from service.store import hours, jobs, keys, statistics
from service.store.hours import Failures
from service.store.keys import Total
from service.store.statistics import WaitingGroup
from service.store.transaction import Transaction

router = page_router("")

_SAMPLE = 600  # jobs of a window whose times are read
_BARS = 48
# Where there is a window for each model.
SAMPLE_OF_MODEL = 150
PARTS_OF_MODEL = 24
_SHARES = {"p50": 0.50, "p95": 0.95}
# A lease is over, and a tick should have settled its job long ago.
_FORSAKEN_AFTER = timedelta(minutes=2)

_Error = tuple[JobState, str | None]  # and its code
LengthQuery = Annotated[Length, Query(alias="window")]


@dataclass(frozen=True)
class Now:
    """The jobs that wait or run at this moment, and the workers."""

    groups: list[tuple[WaitingGroup, Reason]]
    running: int  # starting or running
    workers: Workers
    forsaken: list[JobId]
    key_names: Mapping[KeyId, str]

    @property
    def queued(self) -> int:
        return sum(group.jobs for group, _ in self.groups)

    @property
    def oldest_at(self) -> datetime | None:
        return min((group.oldest_at for group, _ in self.groups), default=None)


@dataclass(frozen=True)
class Past:
    """The jobs that ended within a window."""

    window: Window
    model: str | None
    counts: Counter[JobState]
    bars: list[Bar]
    failures: list[Failures]
    sample: list[FinishedJob]  # of those that succeeded, spread over the window as they are
    lost_usd: float  # spent on jobs that ended without a video

    @property
    def is_sampled(self) -> bool:
        """Tell whether times and prices are those of some of the jobs."""
        return len(self.sample) < self.counts[JobState.SUCCEEDED]

    @property
    def total(self) -> int:
        return self.counts.total()

    @property
    def per_hour(self) -> float:
        return self.counts[JobState.SUCCEEDED] / (self.window.length / timedelta(hours=1))

    @property
    def user_failures(self) -> int:
        return sum(each.user_failures for each in self.failures)

    @property
    def times(self) -> dict[str, StageTimes | None]:
        return dict(
            zip(_SHARES, service_level.stage_times(self.sample, *_SHARES.values()), strict=True)
        )

    @property
    def totals_ms(self) -> dict[str, float | None]:
        """Return what `times` says of the whole, without the stages."""
        return {name: service_level.total_ms(self.sample, share) for name, share in _SHARES.items()}

    @property
    def promises(self) -> dict[str, Promise]:
        return {
            "warm": service_level.warm_five_seconds(self.sample),
            "success": service_level.success(self.counts, user_failures=self.user_failures),
            "price": service_level.price_of_ten_seconds(
                self.sample, self.counts[JobState.SUCCEEDED], self.lost_usd
            ),
        }

    def query(self, *states: str, error: str = "") -> str:
        """Return the filters of the jobs that a figure counts."""
        return JobQuery(
            state=[JobState(state) for state in states],
            model=self.model or "",
            error=error,
            ended_from=self.window.start,
            ended_before=self.window.end,
        ).url()


@dataclass(frozen=True)
class Costs:
    """Dollars by the calendar, in UTC: today, the last seven days, and this month."""

    by_model: dict[str, dict[str, float]]  # of a period, by name
    by_key: dict[str, dict[str, float]]
    key_ids: Mapping[str, KeyId]  # by the names of `by_key`
    begins: Mapping[str, date]  # by period

    def query(self, period: str, by: Literal["model", "key"] = "model", name: str = "") -> str:
        """Return the filters of the jobs that ended in a period: of a model, of a key, or all."""
        query = JobQuery(ended_from=datetime.combine(self.begins[period], time(), UTC))
        value = self.key_ids[name] if by == "key" else name
        return query.url(**{by: value})

    def total(self, period: str) -> float:
        return sum(self.by_model[period].values())

    def sum_of(self, names: list[str], by: Literal["model", "key"], period: str) -> float:
        sums = self.by_model if by == "model" else self.by_key
        return sum(sums[period].get(name, 0) for name in names)

    def names(self, by: Literal["model", "key"]) -> list[str]:
        """Return the names that cost anything, the dearest of the month first."""
        sums = self.by_model if by == "model" else self.by_key
        names = {name for period in sums.values() for name, usd in period.items() if usd}
        return sorted(names, key=lambda name: -max(period.get(name, 0) for period in sums.values()))


@router.get("")
async def show_overview(
    visit: VisitDep, window: LengthQuery = Length.DAY, model: Annotated[str, Query()] = ""
) -> Response:
    chosen = model if model in visit.runtime.cards else None
    past = Window.until(visit.runtime.clock(), window.time)
    now = await visit.read(lambda tx: read_now(tx, visit))
    return await visit.page(
        "overview.html",
        state=now,
        past=await visit.read(lambda tx: read_past(tx, past, chosen)),
        costs=await visit.read(lambda tx: read_costs(tx, past.end.date())),
        length=window,
        lengths=list(Length),
        model=chosen,
        models=list(visit.runtime.cards),
    )


@router.get("/now")
async def show_now(visit: VisitDep) -> Response:
    """The part of the overview that changes by the second."""
    return visit.part("now.html", state=await visit.read(lambda tx: read_now(tx, visit)))


def read_now(tx: Transaction, visit: Visit) -> Now:
    """Read what waits and runs, and say why."""
    runtime = visit.runtime
    now, groups = runtime.clock(), statistics.waiting_groups(tx)
    situation = read_situation(tx, runtime, {group.model for group in groups})
    return Now(
        groups=[(group, why_waiting(runtime, group, situation)) for group in groups],
        running=jobs.count_running(tx),
        workers=read_workers(tx, visit),
        forsaken=statistics.forsaken(tx, now - _FORSAKEN_AFTER),
        key_names=keys.names(tx),
    )


def read_past(
    tx: Transaction, window: Window, model: str | None, *, sample: int = _SAMPLE, parts: int = _BARS
) -> Past:
    """Count the jobs that ended within the window, in so many parts, and time a sample of them."""
    (past,) = read_pasts(tx, window, [model], sample=sample, parts=parts)
    return past


def read_pasts(
    tx: Transaction, window: Window, models: Sequence[str | None], *, sample: int, parts: int
) -> list[Past]:
    """Read the past of each of these models; None: of all of them together."""
    ended, failures = hours.count_ended(tx, window, parts), hours.count_failures(tx, window)
    pasts = []
    for model in models:
        names = list(ended) if model is None else [model]
        of_names = [ended[name] for name in names if name in ended]
        counts = [sum((each[n] for each in of_names), Counter[JobState]()) for n in range(parts)]
        pasts.append(_past(tx, window, model, counts, _merge(failures, names), sample))
    return pasts


def _merge(failures: Mapping[str, list[Failures]], models: list[str]) -> list[Failures]:
    """Add up the failures of these models by their errors: the most first, then by code."""
    jobs, user_failures = Counter[_Error](), Counter[_Error]()
    for model in models:
        for each in failures.get(model, []):
            jobs[each.state, each.code] += each.jobs
            user_failures[each.state, each.code] += each.user_failures
    merged = [Failures(*error, number, user_failures[error]) for error, number in jobs.items()]
    return sorted(merged, key=lambda each: (-each.jobs, each.code or "", each.state))


def _past(
    tx: Transaction,
    window: Window,
    model: str | None,
    ended: list[Counter[JobState]],
    failures: list[Failures],
    sample: int,
) -> Past:
    width = window.length / len(ended)
    total = sum(ended, Counter[JobState]())
    costs = statistics.mean_costs(tx, window, model, size=sample)
    return Past(
        window=window,
        model=model,
        counts=total,
        bars=[_bar(window.start + n * width, width, counts) for n, counts in enumerate(ended)],
        failures=failures,
        sample=statistics.finished_jobs(
            tx, window, [counts[JobState.SUCCEEDED] for counts in ended], model, size=sample
        ),
        lost_usd=sum(usd * total[state] for state, usd in costs.items()),
    )


def read_costs(tx: Transaction, today: date) -> Costs:
    """Sum the costs of all keys by the calendar."""
    periods = {
        "today": (today, today),
        "week": (today - timedelta(days=6), today),
        "month": (today.replace(day=1), today),
    }
    names = keys.names(tx)

    def sums(by: Literal["model", "key"], days: tuple[date, date]) -> dict[str, float]:
        return _dollars(keys.totals(tx, by, *days, key_id=None))

    by_key = {period: sums("key", days) for period, days in periods.items()}
    labels = _labels(names)
    return Costs(
        by_model={period: sums("model", days) for period, days in periods.items()},
        by_key={
            period: {labels[KeyId(id_)]: usd for id_, usd in costs.items()}
            for period, costs in by_key.items()
        },
        key_ids={label: key_id for key_id, label in labels.items()},
        begins={period: first for period, (first, _) in periods.items()},
    )


def _dollars(totals: list[Total]) -> dict[str, float]:
    return {total.name: total.microusd / 1e6 for total in totals}


def _labels(names: Mapping[KeyId, str]) -> dict[KeyId, str]:
    """Return the names of keys; those of one name are told apart by their ids."""
    shared = Counter(names.values())
    return {id_: name if shared[name] == 1 else f"{name} ({id_})" for id_, name in names.items()}


def _bar(start: datetime, width: timedelta, counts: Counter[JobState]) -> Bar:
    good, bad = counts[JobState.SUCCEEDED], counts[JobState.FAILED] + counts[JobState.EXPIRED]
    end = start + width
    label = f"{start:%d %b %H:%M} to {end:%H:%M} UTC: {good} succeeded, {bad} failed"
    canceled = counts[JobState.CANCELED]
    return Bar(
        f"{label}, {canceled} canceled" if canceled else label,
        {"good": good, "bad": bad, "none": canceled},
    )
