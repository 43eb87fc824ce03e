"""Look a job up for a key: another key's job does not exist."""

from service.domain.errors import NotFound
from service.domain.job import Job, JobId, KeyId
from service.store import jobs
from service.store.work import Transaction


def find(tx: Transaction, job_id: JobId, key_id: KeyId) -> Job:
    """Raises NotFound for a job that is not there or not this key's."""
    job = jobs.get(tx, job_id, key_id=key_id)
    if job is None:
        raise NotFound(f"no job {job_id}")
    return job


def hold(tx: Transaction, job_id: JobId, key_id: KeyId) -> Job:
    """The same, and nobody else changes it until this transaction ends."""
    job = jobs.hold(tx, job_id, key_id=key_id)
    if job is None:
        raise NotFound(f"no job {job_id}")
    return job
