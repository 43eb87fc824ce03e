"""Jobs queued for a model that is no longer served: fall back to another model, or fail."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.domain.job import Job
from service.domain.terms import Terms
from service.lifecycle.jobs import move_each_unlocked, move_if_unchanged
from service.lifecycle.report import give_up_model
from service.store import jobs, leases
from service.store.database import Database

log = logging.getLogger(__name__)

# Where processes share a database: for how long a model counts as served after the last of them
# announced it. They are restarted one after another, and each needs a while.
_LEASE = timedelta(minutes=10)
_ANNOUNCE_EVERY = timedelta(minutes=1)
_BATCH = 100  # jobs per tick: the other ticks wait for it


@dataclass
class Unserved:
    """The tick for queued jobs whose model was removed from `terms.models`; running jobs are left
    alone. Processes that share a database announce their models in it."""

    db: Database
    terms: Terms
    is_shared: bool
    _announce_at: datetime | None = field(default=None, init=False)
    _is_complete: bool = field(default=False, init=False)
    _decides_at: datetime | None = field(default=None, init=False)

    def announce_models(self, now: datetime) -> None:
        """Announce this process's models; every process does, whichever runs the ticks."""
        if (
            self._announce_at is None
            or not self._announce_at - _ANNOUNCE_EVERY <= now < self._announce_at
        ):
            if self.is_shared:
                self._announce(self.terms.models, now)
            self._announce_at = now + _ANNOUNCE_EVERY

    def tick(self, now: datetime) -> int:
        """Move the due jobs; return how many were changed."""
        models = self._unserved_models(now)
        due = self.db.read(lambda tx: jobs.queued_for(tx, models, size=_BATCH)) if models else []
        moves = move_each_unlocked(due, set(), lambda job: self._move(job, now))
        counts = Counter(move for move in moves if move is not None)
        for (model, outcome), count in counts.items():
            log.warning(
                "model is no longer served",
                extra={"model": model, "jobs": count, "became": outcome},
            )
        return counts.total()

    def _unserved_models(self, now: datetime) -> set[str]:
        """Return the models of queued jobs that no process serves.

        In a database that is not shared no new jobs for them can arrive, so once none are left the
        search ends. A running job counts: it may be queued again.
        """
        if self._is_complete:
            return set()
        absent = self.db.read(jobs.unfinished_models) - self.terms.models
        self._is_complete = not absent and not self.is_shared
        if not absent or not self.is_shared:
            return absent
        # After a restart of all, the others come back soon. Bounded, as the clock may be set.
        if self._decides_at is None or self._decides_at > now + _LEASE:
            self._decides_at = now + _LEASE
        names = [_lease_name(model) for model in absent]
        until = self.db.read(lambda tx: leases.expiries(tx, names))
        never_announced = {model for model in absent if _lease_name(model) not in until}
        if never_announced:  # perhaps served by a process of an earlier release
            self._announce(never_announced, now)
        if now < self._decides_at:
            return set()
        return {model for model in absent - never_announced if until[_lease_name(model)] < now}

    def _announce(self, models: Iterable[str], now: datetime) -> None:
        names = sorted(map(_lease_name, models))
        self.db.write(lambda tx: leases.extend(tx, names, "", until=now + _LEASE)).result()

    def _move(self, job: Job, now: datetime) -> tuple[str, str] | None:
        """Return the job's model and the outcome; None if the job has changed meanwhile."""
        model = job.request.model
        after = move_if_unchanged(
            self.db, job, lambda tx, locked_job: give_up_model(tx, locked_job, self.terms, now)
        )
        if after is None:
            return None
        return model, "failed" if after.state.final else f"queued for {after.request.model}"


def _lease_name(model: str) -> str:
    return f"serves:{model}"
