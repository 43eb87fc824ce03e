"""A job is judged from a copy, and then moved only if it still is what was judged."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from service.domain.errors import Busy
from service.domain.job import Job, KeyId
from service.log import Log
from service.store import jobs
from service.store.database import Database
from service.store.work import Transaction

log = Log(__name__)

T = TypeVar("T")


def move_judged(
    db: Database, job: Job, work: Callable[[Transaction, Job], Job | None]
) -> Job | None:
    """Do `work` on the held job, and answer what came of it; None, and nothing done, when it has
    changed since, say by a heartbeat."""

    def guarded(tx: Transaction) -> Job | None:
        held = jobs.hold(tx, job.id)
        return work(tx, held) if held is not None and held == job else None

    return db.write(guarded).result()


def each_free(due: Iterable[Job], busy: set[KeyId], move: Callable[[Job], T]) -> Iterator[T]:
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
