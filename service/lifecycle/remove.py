"""Delete a final job: its bytes first, then its row."""

from collections.abc import Callable

from service.domain.artifact import ArtifactStore, job_folder
from service.domain.errors import Conflict
from service.domain.ids import JobId
from service.domain.job import Job, Scope
from service.lifecycle.find import find
from service.lifecycle.inputs import delete_inputs
from service.store import jobs
from service.store.database import Database
from service.store.transaction import Transaction


def remove(
    db: Database,
    artifacts: ArtifactStore,
    job_id: JobId,
    scope: Scope,
    record: Callable[[Transaction], None] | None = None,
) -> Job:
    """Delete the job and return it; `record` runs in the transaction that deletes its row. Raises
    NotFound, or Conflict while it is not final.

    A crash in between leaves a row without bytes, which a second delete removes; the other order
    would leave bytes without a row.
    """
    job = db.read(lambda tx: find(tx, job_id, scope))
    check_final(job)
    artifacts.delete(job_folder(job.id))
    delete_inputs(artifacts, job.id)
    db.write(lambda tx: _delete(tx, job, record)).result()
    return job


def _delete(tx: Transaction, job: Job, record: Callable[[Transaction], None] | None) -> None:
    jobs.delete(tx, job)
    if record is not None:
        record(tx)


def check_final(job: Job) -> None:
    """Raise Conflict for a job that is not final."""
    if not job.state.final:
        raise Conflict(f"the job is {job.state}; cancel it first", code="not_final")
