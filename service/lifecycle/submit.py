"""Accept a job: the row, and what its Idempotency-Key made, in one transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from service.domain.errors import FieldError, QueueFull, RequestRefused
from service.domain.job import Job, KeyId
from service.domain.limits import Limits
from service.domain.submission import Idempotency, Submission, new_job
from service.lifecycle.find import hold
from service.store import idempotency, jobs, keys
from service.store.database import Transaction

Room = Callable[[], None]


def no_check() -> None:
    """There is always room."""


@dataclass(frozen=True)
class Accepted:
    """The job, and whether an earlier request with the same Idempotency-Key made it."""

    job: Job
    replayed: bool = False


def submit(
    tx: Transaction, submission: Submission, limits: Limits, now: datetime, room: Room = no_check
) -> Accepted:
    """Insert a queued job, or answer the one that the same Idempotency-Key made before.

    Raises RequestRefused when that key came with another request, QueueFull over a cap, NotFound
    when the job to retry is gone, and what `room` raises when there is no room for another clip.
    """
    named = submission.idempotency
    if named is not None and (
        (earlier := find_earlier(tx, submission.key_id, named, now)) is not None
    ):
        return Accepted(earlier, replayed=True)
    room()
    if submission.retry_of is not None:
        hold(tx, submission.retry_of, submission.key_id)  # it may have been deleted meanwhile
    _take_place(tx, submission, limits)
    job = new_job(submission, now)
    jobs.insert(tx, job)
    if job.webhook_url is not None:
        keys.signing_secrets(tx, job.key_id)  # made now, so that its owner can ask for it
    if named is not None:
        idempotency.remember(tx, job, named, expires_at=now + limits.keep_idempotency)
    return Accepted(job)


def find_earlier(tx: Transaction, key_id: KeyId, named: Idempotency, now: datetime) -> Job | None:
    """What this Idempotency-Key made, as it was answered. Raises RequestRefused when that was
    another request."""
    remembered = idempotency.find(tx, key_id, named.name, now=now)
    if remembered is None:
        return None
    if remembered.fingerprint != named.fingerprint:
        raise RequestRefused(
            [
                FieldError(
                    "",
                    "this Idempotency-Key was already used with another request; "
                    "use a new one for every new video",
                    "idempotency_key_reused",
                )
            ],
            code="idempotency_key_reused",
        )
    return remembered.accepted


def _take_place(tx: Transaction, submission: Submission, limits: Limits) -> None:
    if not keys.enter_queue(tx, submission.key_id, limit=limits.max_queued_per_key):
        raise QueueFull(
            f"{limits.max_queued_per_key} of your jobs are already waiting; "
            "submit more once some have started"
        )
