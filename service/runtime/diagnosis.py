"""Say in words why queued jobs still wait."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from service.domain.ids import KeyId
from service.runtime.runtime import Runtime
from service.store import jobs, keys
from service.store.statistics import WaitingGroup
from service.store.transaction import Transaction


@dataclass(frozen=True)
class Reason:
    """The reason why a group of jobs waits; `needs_action` if it will not start by itself."""

    text: str
    needs_action: bool = False


@dataclass(frozen=True)
class Situation:
    """The active jobs of each key, and since when models are paused."""

    active: Mapping[KeyId, int]
    paused_since: Mapping[str, datetime]
    now: datetime


def read_situation(tx: Transaction, runtime: Runtime) -> Situation:
    return Situation(keys.active_counts(tx), jobs.paused_models(tx), runtime.clock())


def why_waiting(runtime: Runtime, group: WaitingGroup, situation: Situation) -> Reason:
    """Return the first thing that keeps all jobs of a group from starting."""
    if group.model in situation.paused_since:
        return Reason(f"{group.model} is paused", needs_action=True)
    if not runtime.disk_space.enough:
        return Reason("the disk is nearly full: no job is started", needs_action=True)
    if group.model not in runtime.cards:
        return Reason(f"this service does not serve {group.model}", needs_action=True)
    limit = runtime.limits.max_active_per_key
    if situation.active.get(group.key_id, 0) >= limit:
        return Reason(f"{limit} jobs of this key run, which is the cap of a key")
    workers = runtime.workers.of_model(group.model)
    if workers.count == 0:
        problem = runtime.workers.problem(group.model)
        return Reason(_no_worker(runtime, group.model), problem is not None)
    if group.due_at > situation.now:
        return Reason(f"will be tried again at {group.due_at:%H:%M:%S} UTC")
    plural = "the worker is" if workers.count == 1 else f"all {workers.count} workers are"
    return Reason(f"{plural} busy with other jobs")


def _no_worker(runtime: Runtime, model: str) -> str:
    return runtime.workers.why_waiting(model).partition(":")[0]
