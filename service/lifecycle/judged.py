"""A job is judged from a copy, and then moved only if it still is what was judged."""

from collections.abc import Callable

from service.domain.job import Job
from service.store import jobs
from service.store.database import Database, Transaction


def move_judged(
    db: Database, job: Job, work: Callable[[Transaction, Job], Job | None]
) -> Job | None:
    """Do `work` on the held job, and answer what came of it; None, and nothing done, when it has
    changed since, say by a heartbeat."""

    def guarded(tx: Transaction) -> Job | None:
        held = jobs.hold(tx, job.id)
        return work(tx, held) if held is not None and held == job else None

    return db.write(guarded).result()
