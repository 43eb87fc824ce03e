"""Request a job's cancellation, and end it at once if no worker has begun it."""

from datetime import datetime

from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobState, Scope
from service.domain.price import Charge
from service.lifecycle.find import find_for_update
from service.lifecycle.workers import Workers
from service.store import attempts, audit, moves
from service.store.audit import AuditEntry
from service.store.database import Database
from service.store.transaction import Transaction


def cancel(
    db: Database,
    workers: Workers,
    job_id: JobId,
    scope: Scope,
    now: datetime,
    actor: KeyId | None = None,
) -> Job:
    """Cancel a job and stop its attempt; where `actor` is an admin, that is recorded. Raises
    NotFound for a job outside of `scope`."""

    def change(tx: Transaction) -> Job:
        if actor is not None:
            audit.insert(tx, AuditEntry(now, actor, "job.cancel", job_id))
        return request_cancel(tx, job_id, scope, now)

    job = db.write(change).result()
    if job.attempt:
        workers.stop(job, now)
    return job


def request_cancel(tx: Transaction, job_id: JobId, scope: Scope, now: datetime) -> Job:
    """Return the job afterwards: canceled, running with a cancel request, or final as before.

    A running worker learns of the request in the answer to its next report; a video that it
    finishes before is kept. Raises NotFound for a job outside of `scope`.
    """
    job = find_for_update(tx, job_id, scope)
    if job.state.final:
        return job
    if job.state is JobState.RUNNING:
        return moves.request_cancel(tx, job, now=now)
    no_charge = Charge(at=now)
    canceled_job = moves.cancel(tx, job, charge=no_charge)
    attempts.end(tx, canceled_job, outcome="canceled", charge=no_charge)
    return canceled_job
