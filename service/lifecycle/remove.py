"""Delete a final job: its bytes first, then its row."""

from dataclasses import dataclass
from datetime import datetime

from service.domain.artifact import ArtifactStore, job_folder
from service.domain.audit import Act, AuditEntry
from service.domain.errors import Conflict
from service.domain.ids import JobId, KeyId
from service.domain.job import Job
from service.domain.key import Scope
from service.lifecycle.find import find
from service.lifecycle.inputs import delete_inputs
from service.store import audit, jobs
from service.store.database import Database
from service.store.transaction import Transaction


@dataclass(frozen=True)
class Deletion:
    """An admin who deletes what belongs to any key, and when."""

    actor: KeyId
    at: datetime

    def record(self, tx: Transaction, act: Act, target: str, detail: str | None = None) -> None:
        audit.insert(tx, AuditEntry(self.at, self.actor, act, target, detail=detail))


def remove(
    db: Database,
    artifacts: ArtifactStore,
    job_id: JobId,
    scope: Scope,
    deletion: Deletion | None = None,
) -> Job:
    """Delete the job and return it; an admin's `deletion` is recorded. Raises NotFound, or Conflict
    while it is not final.

    A crash in between leaves a row without bytes, which a second delete removes; the other order
    would leave bytes without a row.
    """
    job = db.read(lambda tx: find(tx, job_id, scope))
    check_final(job)
    artifacts.delete(job_folder(job.id))
    delete_inputs(artifacts, job.id)
    db.write(lambda tx: _delete(tx, job, deletion)).result()
    return job


def _delete(tx: Transaction, job: Job, deletion: Deletion | None) -> None:
    jobs.delete(tx, job)
    if deletion is not None:
        deletion.record(tx, "job.delete", job.id)


def check_final(job: Job) -> None:
    """Raise Conflict for a job that is not final."""
    if not job.state.final:
        raise Conflict(f"the job is {job.state}; cancel it first", code="not_final")
