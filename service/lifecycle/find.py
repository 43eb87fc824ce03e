"""Look jobs up, and change them only if they are unchanged since."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from service.domain.errors import Busy, NotFound
from service.domain.ids import JobId, KeyId
from service.domain.job import Job, Scope
from service.store import jobs
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
