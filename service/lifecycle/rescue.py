"""Settle jobs by time: expired leases, passed deadlines, ignored cancel requests; and jobs queued
for a model that is no longer served."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from service.domain.attempt import ArtifactStore, Failure, FailureKind
from service.domain.errors import Unavailable
from service.domain.ids import KeyId
from service.domain.job import Job, JobState
from service.domain.retry import MAX_WAIT
from service.domain.terms import Terms
from service.lifecycle.jobs import move_each_unlocked, move_if_unchanged
from service.lifecycle.report import give_up_model, lapse, miss_start_deadline, settle, succeed
from service.lifecycle.verify import finished_outcome
from service.lifecycle.workers import Workers
from service.store import jobs, leases, moves
from service.store.database import Database
from service.store.transaction import Transaction

log = logging.getLogger(__name__)

# How long a running worker may ignore a cancel request before its job is settled without it:
# longer than one denoising step of the largest model.
CANCEL_GRACE = timedelta(seconds=60)


Work = Callable[[Transaction], Job | None]
Due = Callable[[Transaction], list[Job]]
Move = Callable[[Job], Work]


@dataclass(frozen=True)
class Rescuer:
    """The tick that settles jobs by time, each in a transaction of its own."""

    db: Database
    artifacts: ArtifactStore
    terms: Terms
    workers: Workers
    max_lease: timedelta = timedelta(seconds=30)

    def tick(self, now: datetime) -> int:
        """Settle all jobs that are due; return how many were changed."""
        busy: set[KeyId] = set()
        self._poll_silent(now, busy)
        rules: list[tuple[Due, Move]] = [
            (
                lambda tx: jobs.with_expired_lease(tx, now, 2 * self.max_lease),
                lambda job: self._lease_expired(job, now),
            ),
            (lambda tx: jobs.scheduled_after(tx, now + MAX_WAIT), lambda job: _make_due(job, now)),
            (lambda tx: jobs.overdue(tx, now), lambda job: self._fail(job, _timeout(job), now)),
            (
                lambda tx: jobs.ignoring_cancel(tx, now - CANCEL_GRACE),
                lambda job: self._fail(job, _LOST, now),
            ),
            (lambda tx: jobs.never_started(tx, now), lambda job: self._not_started(job, now)),
        ]
        return sum(
            has_changed
            for due, move in rules
            for has_changed in move_each_unlocked(
                self.db.read(due), busy, partial(self._try, move, now)
            )
        )

    def _poll_silent(self, now: datetime, busy: set[KeyId]) -> None:
        """Poll silent workers first. A job whose worker cannot be polled, or whose key is busy,
        does not count as lost."""
        silent = self.db.read(lambda tx: jobs.with_expired_lease(tx, now, 2 * self.max_lease))
        for _ in move_each_unlocked(silent, busy, partial(self.workers.poll, now=now)):
            pass

    def _try(self, move: Move, now: datetime, job: Job) -> bool:
        """Settle one job; its error does not stop the others."""
        try:
            has_changed = self._move(job, move(job))
            if has_changed and job.state is JobState.RUNNING:
                self.workers.stop(job, now)  # it may be alive without a connection
            return has_changed
        except Unavailable:
            raise  # its key is busy; or the database is away, and no worker can report
        except Exception as fault:
            log.error("job could not be settled by time", exc_info=fault, extra={"job": job.id})
            return False

    def _move(self, job: Job, work: Work) -> bool:
        after = move_if_unchanged(self.db, job, lambda tx, _: work(tx))
        if after is not None:
            log.warning(
                "job settled by time",
                extra={
                    "job": job.id,
                    "attempt": job.attempt,
                    "was": job.state,
                    "state": after.state,
                },
            )
        return after is not None

    def _lease_expired(self, job: Job, now: datetime) -> Work:
        """Adopt the video of a silent worker if it finished one, else end the attempt as lost."""
        if job.state is JobState.STARTING:
            return lambda tx: lapse(tx, job, self.terms, now)
        try:
            outcome = finished_outcome(self.artifacts, job, job.artifact_prefix)
        except Unavailable as error:
            # Not known whether there is a video: neither lost nor adopted until it is.
            log.warning(
                "artifacts of a silent worker cannot be read", extra={"job": job.id, "error": error}
            )
            return lambda _: None
        if outcome is None:
            return self._fail(job, _LOST, now)
        return lambda tx: succeed(tx, job, outcome, terms=self.terms, now=now)

    def _not_started(self, job: Job, now: datetime) -> Work:
        return lambda tx: miss_start_deadline(tx, job, self.terms, now)

    def _fail(self, job: Job, failure: Failure, now: datetime) -> Work:
        return lambda tx: settle(tx, job, failure, self.terms, now)


_LOST = Failure(
    kind=FailureKind.LOST,
    code="worker_lost",
    message="the worker stopped reporting and its lease expired",
)


def _timeout(job: Job) -> Failure:
    return Failure(
        kind=FailureKind.TIMEOUT,
        code="timeout",
        message=f"the attempt ran longer than {job.timeout_seconds} s",
    )


def _make_due(job: Job, now: datetime) -> Work:
    return lambda tx: moves.make_due(tx, job, now=now)


# Where processes share a database: for how long a model counts as served after the last of them
# announced it. They are restarted one after another, and each needs a while.
_LEASE = timedelta(minutes=10)
_ANNOUNCE_EVERY = timedelta(minutes=1)
_BATCH = 100  # jobs per tick: the other ticks wait for it


@dataclass
class Unserved:
    """The tick for queued jobs whose model was removed from `terms.models`; running jobs, and those
    of a paused model, are left alone. Processes that share a database announce their models."""

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
