"""How long what is left of a final job is kept, and what is thrown away when."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from service.domain.job import Job

# A worker that was given up may still write for so long after its job is final.
SETTLE = timedelta(hours=1)


@dataclass(frozen=True)
class RetentionPolicy:
    """Counted from when a job became final, or a delivery was made."""

    clips: timedelta = timedelta(days=7)
    jobs: timedelta = timedelta(days=30)
    deliveries: timedelta = timedelta(days=30)


class Purge(StrEnum):
    """What is thrown away of a final job, in this order."""

    LEFTOVERS = "leftovers"  # bytes of attempts that did not win
    BYTES = "bytes"
    ROW = "row"


def purge_of(job: Job, keeping: RetentionPolicy, now: datetime) -> Purge:
    """What is due of a final job at this moment."""
    assert job.finished_at is not None, "only a final job is purged"
    age = now - job.finished_at
    if age >= keeping.jobs:
        return Purge.ROW
    return Purge.BYTES if age >= keeping.clips else Purge.LEFTOVERS


def next_purge_at(job: Job, done: Purge, keeping: RetentionPolicy) -> datetime:
    """When the purge after `done` is due."""
    assert job.finished_at is not None, "only a final job is purged"
    return job.finished_at + (keeping.clips if done is Purge.LEFTOVERS else keeping.jobs)
