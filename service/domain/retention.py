"""Retention of final jobs: what is deleted of them, and when."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from service.domain.job import Job

# How long a worker may still write after its job is final.
SETTLE = timedelta(hours=1)


@dataclass(frozen=True)
class RetentionPolicy:
    """Periods of retention, from when a job became final or a delivery was created."""

    videos: timedelta = timedelta(days=7)
    jobs: timedelta = timedelta(days=30)
    deliveries: timedelta = timedelta(days=30)


class Purge(StrEnum):
    """The parts of a final job to delete, in this order."""

    LEFTOVERS = "leftovers"  # bytes of attempts other than the successful one
    BYTES = "bytes"
    ROW = "row"


def purge_of(job: Job, policy: RetentionPolicy, now: datetime) -> Purge:
    """Return the purge of a final job that is due now."""
    assert job.finished_at is not None, "only a final job is purged"
    age = now - job.finished_at
    if age >= policy.jobs:
        return Purge.ROW
    return Purge.BYTES if age >= policy.videos else Purge.LEFTOVERS


def next_purge_at(job: Job, last: Purge, policy: RetentionPolicy) -> datetime:
    """Return when the purge after `last` is due."""
    assert job.finished_at is not None, "only a final job is purged"
    return job.finished_at + (policy.videos if last is Purge.LEFTOVERS else policy.jobs)
