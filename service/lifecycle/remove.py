"""Delete a final job: its bytes first, then its row."""

from service.domain.artifact import job_folder
from service.domain.errors import Conflict
from service.domain.ids import JobId
from service.domain.job import Job
from service.domain.key import Scope
from service.domain.ports import ArtifactStore
from service.lifecycle.find import find
from service.lifecycle.inputs import delete_inputs
from service.store import jobs
from service.store.database import Database


def remove(db: Database, artifacts: ArtifactStore, job_id: JobId, scope: Scope) -> Job:
    """Delete the job and return it. Raises NotFound, or Conflict while it is not final.

    A crash in between leaves a row without bytes, which a second delete removes; the other order
    would leave bytes without a row.
    """
    job = db.read(lambda tx: find(tx, job_id, scope))
    check_final(job)
    artifacts.delete(job_folder(job.id))
    delete_inputs(artifacts, job.id)
    db.write(lambda tx: jobs.delete(tx, job)).result()
    return job


def check_final(job: Job) -> None:
    """Raise Conflict for a job that is not final."""
    if not job.state.final:
        raise Conflict(f"the job is {job.state}; cancel it first", code="not_final")
