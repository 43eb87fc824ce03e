"""Bulk actions: start one, stop it, and the tick that carries it out job by job."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from service.domain.attempt import ArtifactStore
from service.domain.bulk import (
    MAX_JOBS,
    BulkAct,
    BulkAction,
    BulkId,
    BulkItem,
    BulkState,
    new_bulk_id,
)
from service.domain.errors import Conflict, FieldError, NotFound, RequestRefused, ServiceError
from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobFilter, Scope
from service.lifecycle.jobs import find, find_for_update, remove, request_cancel
from service.lifecycle.workers import Workers
from service.store import audit, bulk
from service.store.audit import AuditEntry
from service.store.database import Database
from service.store.transaction import Transaction

log = logging.getLogger(__name__)

_ALL = Scope(None)
_BATCH = 100
_SECONDS = 0.5  # of a tick: the others wait for it

# Submits a final job again, for its key; a second time with the same name changes nothing.
Retry = Callable[[Job, str], Job]


@dataclass(frozen=True)
class Order:
    """A bulk action that somebody wants: the act, the filter of jobs of a scope, the URL of their
    list, and the number of jobs that was named. The same `id` starts one action only."""

    act: BulkAct
    scope: Scope
    filters: JobFilter
    query: str
    jobs: int
    id: BulkId = field(default_factory=new_bulk_id)


def start(db: Database, order: Order, actor: KeyId, now: datetime) -> BulkAction:
    """Start a bulk action on the jobs that its filter selects now, or return the one that this
    order started before. Raises Conflict if these are not as many as were told, and RequestRefused
    for none or too many."""
    chosen = None
    if order.filters.words:
        # Every prompt is read: within the write, all other writes would wait for that. A job that
        # changes in between is named and left when its turn comes.
        chosen = db.read(lambda tx: bulk.search(tx, order.act, order.scope, order.filters))
    return db.write(lambda tx: _start(tx, order, chosen, actor, now)).result()


def _start(
    tx: Transaction, order: Order, chosen: list[JobId] | None, actor: KeyId, now: datetime
) -> BulkAction:
    earlier = bulk.get(tx, order.id)
    if earlier is not None:
        return earlier
    num_jobs = (
        bulk.survey(tx, order.act, order.scope, order.filters).jobs
        if chosen is None
        else len(chosen)
    )
    if not 0 < num_jobs <= MAX_JOBS:
        number = "more" if num_jobs else "none"
        detail = f"from 1 to {MAX_JOBS:,} jobs at once; the filter has {number}"
        raise RequestRefused([FieldError("/jobs", detail, "out_of_range")])
    if num_jobs != order.jobs:
        detail = f"{order.jobs:,} jobs were to {order.act}, and now there are {num_jobs:,}"
        raise Conflict(f"{detail}; look at the list again")
    action = BulkAction(
        id=order.id,
        key_id=actor,
        act=order.act,
        query=order.query,
        total=num_jobs,
        state=BulkState.RUNNING,
        created_at=now,
    )
    bulk.insert(tx, action, order.scope, order.filters, chosen)
    detail = f"{order.act} {order.query}"[:500]
    entry = AuditEntry(now, actor, "bulk.start", action.id, number=num_jobs, detail=detail)
    audit.insert(tx, entry)
    return action


def stop(tx: Transaction, bulk_id: BulkId, actor: KeyId, now: datetime) -> None:
    """Leave the jobs whose turn is still to come as they are. Raises NotFound."""
    if bulk.get(tx, bulk_id) is None:
        raise NotFound(f"no bulk action {bulk_id}")
    if bulk.end(tx, bulk_id, BulkState.STOPPED, now):
        num_left = bulk.counts(tx, [bulk_id])[bulk_id].get(None, 0)
        audit.insert(tx, AuditEntry(now, actor, "bulk.stop", bulk_id, number=num_left))


@dataclass(frozen=True)
class BulkRunner:
    """The tick of bulk actions. What is done to a job is recorded in the same transaction, except
    for a retry: it may be repeated after a crash, and then finds the job that it made."""

    db: Database
    workers: Workers
    artifacts: ArtifactStore
    retry: Retry

    def tick(self, now: datetime) -> int:
        """Act on jobs for a while; return how many had their turn. An error of one action is raised
        after the others had theirs."""
        deadline, count = time.monotonic() + _SECONDS, 0
        errors = []
        for action in self.db.read(bulk.running):
            try:
                count += self._advance(action, now, deadline)
            except Exception as error:  # noqa: BLE001
                errors.append(error)
        if errors:
            raise errors[0]
        return count

    def _advance(self, action: BulkAction, now: datetime, deadline: float) -> int:
        """Act on the next jobs of an action until the deadline. One that must wait, say for a full
        queue, holds up those of its key alone, until the next tick."""
        count = 0
        waiting: set[KeyId] = set()
        while batch := self._next_jobs(action, waiting):
            for job_id in batch:
                is_over = count == _BATCH or time.monotonic() >= deadline
                if is_over or not self._is_running(action):
                    return count
                if not self._act(action, job_id, now):
                    waiting.add(self._find(job_id).key_id)
                    break
                count += 1
        if not waiting:
            self._finish(action, now)
        return count

    def _next_jobs(self, action: BulkAction, waiting: set[KeyId]) -> list[JobId]:
        return self.db.read(lambda tx: bulk.open_items(tx, action.id, size=_BATCH, without=waiting))

    def _is_running(self, action: BulkAction) -> bool:
        current = self.db.read(lambda tx: bulk.get(tx, action.id))
        return current is not None and current.state is BulkState.RUNNING

    def _act(self, action: BulkAction, job_id: JobId, now: datetime) -> bool:
        """Act on one job; False if it must wait. Its refusal does not stop the others."""
        try:
            self._apply(action, job_id, now)
        except ServiceError as error:
            if error.retryable:
                log.debug(
                    "bulk action waits", extra={"bulk": action.id, "job": job_id, "error": error}
                )
                return False
            self._settle(action, BulkItem(job_id, False, error.message[:300]))
        except Exception as fault:  # or the jobs behind it would never have a turn
            log.error(
                "bulk action failed for a job",
                exc_info=fault,
                extra={"bulk": action.id, "job": job_id},
            )
            outcome = f"failed by {type(fault).__name__}; the service's log says more"
            self._settle(action, BulkItem(job_id, False, outcome))
        return True

    def _apply(self, action: BulkAction, job_id: JobId, now: datetime) -> None:
        """Act on one job, and record it."""
        if action.act == "cancel":
            job = self.db.write(partial(_cancel, action=action, job_id=job_id, now=now)).result()
            if job.attempt:
                self.workers.stop(job, now)
        elif action.act == "delete":
            item = BulkItem(job_id, True, "deleted")
            record = partial(bulk.settle, bulk_id=action.id, item=item)
            remove(self.db, self.artifacts, job_id, _ALL, record=record)
        else:
            job = self.retry(self._find(job_id), f"rushes-bulk:{action.id}:{job_id}")
            self._settle(action, BulkItem(job_id, True, f"retried as {job.id}"))

    def _find(self, job_id: JobId) -> Job:
        return self.db.read(lambda tx: find(tx, job_id, _ALL))

    def _settle(self, action: BulkAction, item: BulkItem) -> None:
        self.db.write(partial(bulk.settle, bulk_id=action.id, item=item)).result()

    def _finish(self, action: BulkAction, now: datetime) -> None:
        self.db.write(lambda tx: bulk.end(tx, action.id, BulkState.DONE, now)).result()
        log.info(
            "bulk action done", extra={"bulk": action.id, "act": action.act, "jobs": action.total}
        )


def _cancel(tx: Transaction, action: BulkAction, job_id: JobId, now: datetime) -> Job:
    if find_for_update(tx, job_id, _ALL).state.final:
        raise Conflict("it had ended before")
    job = request_cancel(tx, job_id, _ALL, now)
    outcome = "canceled" if job.state.final else "told to stop"
    bulk.settle(tx, action.id, BulkItem(job_id, True, outcome))
    return job
