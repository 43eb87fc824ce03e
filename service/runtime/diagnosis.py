"""Say in words why queued jobs still wait."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain.ids import KeyId
from service.domain.service_level import cold_start_ms
from service.domain.window import Window
from service.runtime.runtime import Runtime
from service.store import jobs, keys, statistics
from service.store.statistics import WaitingGroup
from service.store.transaction import Transaction

_COLD_STARTS_OF = timedelta(days=7)
_SAMPLE = 100  # newest jobs of a model


@dataclass(frozen=True)
class Reason:
    """The reason why a group of jobs waits; `needs_action` if it will not start by itself."""

    text: str
    needs_action: bool = False
    is_paused: bool = False


@dataclass(frozen=True)
class Situation:
    """The active jobs of each key and of each model, since when models are paused, and how long
    those of `cold_ms` usually take to start, which have no container."""

    active: Mapping[KeyId, int]
    active_by_model: Mapping[str, int]
    paused_since: Mapping[str, datetime]
    cold_ms: Mapping[str, float | None]
    now: datetime


def read_situation(tx: Transaction, runtime: Runtime, models: Iterable[str]) -> Situation:
    """Read what may keep the jobs of these models from starting."""
    now = runtime.clock()
    served = sorted(set(models) & runtime.cards.keys()) if runtime.workers.max_warm else []
    cold = [model for model in served if runtime.workers.of_model(model).count == 0]
    past = Window.until(now, _COLD_STARTS_OF)
    return Situation(
        active=keys.active_counts(tx),
        active_by_model=statistics.active_by_model(tx),
        paused_since=jobs.paused_models(tx),
        cold_ms={
            model: cold_start_ms(
                statistics.finished_jobs(tx, past, [_SAMPLE], model, size=_SAMPLE)  # the newest
            )
            for model in cold
        },
        now=now,
    )


def why_waiting(runtime: Runtime, group: WaitingGroup, situation: Situation) -> Reason:
    """Return the first thing that keeps all jobs of a group from starting."""
    if group.model in situation.paused_since:
        return Reason(f"{group.model} is paused", needs_action=True, is_paused=True)
    if not runtime.disk_space.enough:
        return Reason("the disk is nearly full: no job is started", needs_action=True)
    if group.model not in runtime.cards:
        return Reason(f"this service does not serve {group.model}", needs_action=True)
    limit = runtime.limits.max_active_per_key
    if situation.active.get(group.key_id, 0) >= limit:
        return Reason(f"as many jobs of this key run as may: {limit}")
    if group.due_at > situation.now:
        return Reason(f"will be tried again at {group.due_at:%H:%M:%S} UTC")
    if runtime.workers.of_model(group.model).count == 0:
        return _no_worker(runtime, group.model, situation)
    models, workers = runtime.workers.competing(group.model)
    if sum(situation.active_by_model.get(model, 0) for model in models) < workers:
        return Reason("it is its turn: a worker takes it in a moment")
    return Reason(f"{'the worker is' if workers == 1 else f'all {workers} workers are'} busy")


def _no_worker(runtime: Runtime, model: str, situation: Situation) -> Reason:
    text = runtime.workers.why_waiting(model)
    if model in situation.cold_ms:
        usual = situation.cold_ms[model]
        text += ": cold start" + (f", usually {usual / 1000:.0f} s" if usual is not None else "")
    return Reason(text, needs_action=runtime.workers.problem(model) is not None)
