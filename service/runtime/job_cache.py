"""Jobs as they were last read: a poll of a job that has not changed need not read it again."""

from collections.abc import Sequence
from threading import Lock

from service.domain.errors import NotFound
from service.domain.ids import JobId, KeyId
from service.domain.job import Job
from service.store import jobs
from service.store.database import Database

_MOST = 2_000


class JobCache:
    """Good only where this process is the one that writes: it hears of every commit."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._changes = 0
        self._lock = Lock()

    def forget(self, topics: Sequence[str]) -> None:
        """The writer's thread calls this after a commit and before anybody is told of it."""
        with self._lock:
            self._changes += 1
            for topic in topics:
                self._jobs.pop(topic, None)

    def clear(self) -> None:
        """Nothing that was seen counts any more."""
        with self._lock:
            self._changes += 1
            self._jobs.clear()

    def find(self, db: Database, job_id: JobId, key_id: KeyId) -> Job:
        """Raises NotFound for a job that is not there or not this key's."""
        job = self._jobs.get(job_id)
        if job is None:
            before = self._changes
            job = db.read(lambda tx: jobs.get(tx, job_id))
            if job is not None:
                self._remember(job, before)
        if job is None or job.key_id != key_id:
            raise NotFound(f"no job {job_id}")
        return job

    def _remember(self, job: Job, before: int) -> None:
        with self._lock:
            if before != self._changes:
                return  # something was committed since the look: it may have been this job
            if len(self._jobs) >= _MOST:
                self._jobs.clear()
            self._jobs[job.id] = job
