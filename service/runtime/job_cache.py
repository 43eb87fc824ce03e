"""Cache jobs, so that polls of an unchanged job read no database."""

from collections.abc import Sequence
from threading import Lock

from service.domain.errors import NotFound
from service.domain.ids import JobId
from service.domain.job import Job, Scope
from service.domain.topics import Topic
from service.store import jobs
from service.store.database import Database

_MAX_JOBS = 2_000


class JobCache:
    """Valid only in the process that writes: every commit must call `forget`."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._version = 0
        self._lock = Lock()

    def forget(self, topics: Sequence[Topic]) -> None:
        """Drop changed jobs. Called by the writer thread after a commit, before notifications."""
        with self._lock:
            self._version += 1
            for topic in topics:
                self._jobs.pop(topic, None)

    def clear(self) -> None:
        """Drop all jobs."""
        with self._lock:
            self._version += 1
            self._jobs.clear()

    def find(self, db: Database, job_id: JobId, scope: Scope) -> Job:
        """Return a job. Raises NotFound if it does not exist or belongs to another key."""
        job = self._jobs.get(job_id)
        if job is None:
            version = self._version
            job = db.read(lambda tx: jobs.get(tx, job_id))
            if job is not None:
                self._remember(job, version)
        if job is None or not scope.includes(job.key_id):
            raise NotFound(f"no job {job_id}")
        return job

    def _remember(self, job: Job, version: int) -> None:
        with self._lock:
            if version != self._version:
                return  # a commit since the read may have changed this job
            if len(self._jobs) >= _MAX_JOBS:
                self._jobs.clear()
            self._jobs[job.id] = job
