"""Look jobs up, and move them only if they are unchanged since."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from service.domain.errors import Busy, NotFound
from service.domain.ids import JobId, KeyId
from service.domain.job import Job
from service.log import Log
from service.store import jobs
from service.store.database import Database
from service.store.transaction import Transaction

log = Log(__name__)

T = TypeVar("T")


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


def move_if_unchanged(
    db: Database, job: Job, work: Callable[[Transaction, Job], Job | None]
) -> Job | None:
    """Do `work` on the held job, and answer what came of it; None, and nothing done, when it has
    changed since, say by a heartbeat."""

    def guarded(tx: Transaction) -> Job | None:
        held = jobs.hold(tx, job.id)
        return work(tx, held) if held is not None and held == job else None

    return db.write(guarded).result()


def move_each_unlocked(
    due: Iterable[Job], busy: set[KeyId], move: Callable[[Job], T]
) -> Iterator[T]:
    """Move each of them, but none of a key in `busy`; a key is put there by its first job that is
    Busy, for each of the others would wait for seconds as well."""
    for job in due:
        if job.key_id in busy:
            continue
        try:
            yield move(job)
        except Busy as error:
            busy.add(job.key_id)
            log.warning("job cannot be moved yet", job=job.id, key=job.key_id, error=error)
