"""Look a job up, change it only if it is unchanged since, cancel it, delete it."""

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TypeVar

from service.domain.attempt import ArtifactStore, job_folder
from service.domain.errors import Busy, Conflict, NotFound
from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobState, Scope
from service.domain.price import Charge
from service.lifecycle.inputs import delete_inputs
from service.lifecycle.workers import Workers
from service.store import attempts, jobs, moves
from service.store.audit import Actor
from service.store.database import Database
from service.store.transaction import Transaction

log = logging.getLogger(__name__)

T = TypeVar("T")


def find(tx: Transaction, job_id: JobId, scope: Scope) -> Job:
    """Return the job. Raises NotFound if it does not exist or is outside of `scope`."""
    job = jobs.get(tx, job_id, key_id=scope.key_id)
    if job is None:
        raise NotFound(f"no job {job_id}")
    return job


def find_for_update(tx: Transaction, job_id: JobId, scope: Scope) -> Job:
    """Return the job as `find` does, its row locked until this transaction ends."""
    job = jobs.get_for_update(tx, job_id, key_id=scope.key_id)
    if job is None:
        raise NotFound(f"no job {job_id}")
    return job


def move_if_unchanged(
    db: Database, job: Job, work: Callable[[Transaction, Job], Job | None]
) -> Job | None:
    """Run `work` on the locked job and return its result; None, and nothing is done, if the job has
    changed since it was read, for example by a heartbeat."""

    def guarded(tx: Transaction) -> Job | None:
        current_job = jobs.get_for_update(tx, job.id)
        return work(tx, current_job) if current_job == job else None

    return db.write(guarded).result()


def move_each_unlocked(
    due: Iterable[Job], busy: set[KeyId], move: Callable[[Job], T]
) -> Iterator[T]:
    """Apply `move` to each job whose key is not in `busy`. The first job of a key that raises Busy
    adds the key, since each of its other jobs would wait for seconds as well."""
    for job in due:
        if job.key_id in busy:
            continue
        try:
            yield move(job)
        except Busy as error:
            busy.add(job.key_id)
            log.warning(
                "job cannot be changed yet",
                extra={"job": job.id, "key": job.key_id, "error": error},
            )


def cancel(
    db: Database,
    workers: Workers,
    job_id: JobId,
    scope: Scope,
    now: datetime,
    actor: Actor | None = None,
) -> Job:
    """Cancel a job as `request_cancel`, and stop its attempt."""
    job = db.write(lambda tx: request_cancel(tx, job_id, scope, now, actor)).result()
    if job.attempt:
        workers.stop(job, now)
    return job


def request_cancel(
    tx: Transaction, job_id: JobId, scope: Scope, now: datetime, actor: Actor | None = None
) -> Job:
    """Return the job afterwards: canceled, running with a cancel request, or final as before. The
    cancel of an admin is recorded.

    A running worker learns of the request in the answer to its next report; a video that it
    finishes before is kept. Raises NotFound for a job outside of `scope`.
    """
    job = find_for_update(tx, job_id, scope)
    if job.state.final:
        return job
    if actor is not None and job.cancel_requested_at is None:
        actor.record(tx, "job.cancel", job_id)
    if job.state is JobState.RUNNING:
        return moves.request_cancel(tx, job, now=now)
    no_charge = Charge(at=now)
    canceled_job = moves.cancel(tx, job, charge=no_charge)
    attempts.end(tx, canceled_job, outcome="canceled", charge=no_charge)
    return canceled_job


def remove(
    db: Database,
    artifacts: ArtifactStore,
    job_id: JobId,
    scope: Scope,
    actor: Actor | None = None,
    record: Callable[[Transaction], None] | None = None,
) -> Job:
    """Delete the job and return it; an admin's delete is recorded. `record` runs in the transaction
    that deletes its row. Raises NotFound, or Conflict while it is not final.

    A crash in between leaves a row without bytes, which a second delete removes; the other order
    would leave bytes without a row.
    """
    job = db.read(lambda tx: find(tx, job_id, scope))
    check_final(job)
    artifacts.delete(job_folder(job.id))
    delete_inputs(artifacts, job.id)

    def delete(tx: Transaction) -> None:
        jobs.delete(tx, job)
        if actor is not None:
            actor.record(tx, "job.delete", job.id)
        if record is not None:
            record(tx)

    db.write(delete).result()
    return job


def check_final(job: Job) -> None:
    """Raise Conflict for a job that is not final."""
    if not job.state.final:
        raise Conflict(f"the job is {job.state}; cancel it first", code="not_final")
