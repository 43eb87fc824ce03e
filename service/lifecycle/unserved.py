"""Jobs that wait for a model which nobody serves any more: handed on, or failed."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.domain.job import Job
from service.domain.terms import Terms
from service.lifecycle.find import move_each_unlocked, move_if_unchanged
from service.lifecycle.settle import give_up_model
from service.log import Log
from service.store import jobs, leases
from service.store.database import Database

log = Log(__name__)

# Where several processes share a database: for how long a model is served after the last of them
# said so. They are restarted one after another, and each needs a while.
_LASTS = timedelta(minutes=10)
_SAY_EVERY = timedelta(minutes=1)
_BATCH = 100  # of a tick: the other ticks wait for it


@dataclass
class Unserved:
    """The tick for jobs whose model was taken out of `terms.models`. Where others share the
    database, each process says what it serves; a job that runs is let end."""

    db: Database
    terms: Terms
    shared: bool
    _say_at: datetime | None = field(default=None, init=False)
    _over: bool = field(default=False, init=False)
    _judges_at: datetime | None = field(default=None, init=False)

    def say_what_is_served(self, now: datetime) -> None:
        """Said by every process, whoever does the ticks."""
        if self._say_at is None or not self._say_at - _SAY_EVERY <= now < self._say_at:
            if self.shared:
                self._say(self.terms.models, now)
            self._say_at = now + _SAY_EVERY

    def tick(self, now: datetime) -> int:
        """Answers how many jobs were moved."""
        gone = self._gone(now)
        due = self.db.read(lambda tx: jobs.queued_for(tx, gone, size=_BATCH)) if gone else []
        each = move_each_unlocked(due, set(), lambda job: self._move(job, now))
        moved = Counter(how for how in each if how is not None)
        for (model, became), count in moved.items():
            log.warning("model is served no more", model=model, jobs=count, became=became)
        return moved.total()

    def _gone(self, now: datetime) -> set[str]:
        """The models that are waited for and that nobody serves.

        Nobody else accepts jobs of a database that is not shared: once there are none left, there
        will be none. A job that runs may yet be queued again.
        """
        if self._over:
            return set()
        away = self.db.read(jobs.unfinished_models) - self.terms.models
        self._over = not away and not self.shared
        if not away or not self.shared:
            return away
        # Where all were away, the others come back soon. Never longer: the clock may be set.
        if self._judges_at is None or self._judges_at > now + _LASTS:
            self._judges_at = now + _LASTS
        until = self.db.read(lambda tx: leases.until(tx, [_name(model) for model in away]))
        never_said = {model for model in away if _name(model) not in until}
        if never_said:  # perhaps by a process of an earlier release
            self._say(never_said, now)
        if now < self._judges_at:
            return set()
        return {model for model in away - never_said if until[_name(model)] < now}

    def _say(self, models: Iterable[str], now: datetime) -> None:
        names = sorted(map(_name, models))
        self.db.write(lambda tx: leases.keep(tx, names, "", until=now + _LASTS)).result()

    def _move(self, job: Job, now: datetime) -> tuple[str, str] | None:
        """The model that it waited for, and what became of it; None where it has moved itself."""
        model = job.request.model
        after = move_if_unchanged(
            self.db, job, lambda tx, held: give_up_model(tx, held, self.terms, now)
        )
        if after is None:
            return None
        return model, "failed" if after.state.final else f"queued for {after.request.model}"


def _name(model: str) -> str:
    return f"serves:{model}"
