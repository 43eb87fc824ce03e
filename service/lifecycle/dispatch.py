"""Hand a queued job to a worker that asked for one."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain.job import Job
from service.domain.key import hash_secret
from service.store import attempts, jobs, moves
from service.store.database import Transaction


@dataclass(frozen=True)
class Claim:
    """A claimed job and the secret by which its worker may report on it."""

    job: Job
    token: str


def claim(
    tx: Transaction, models: list[str], *, worker: str, lease: timedelta, now: datetime
) -> Claim | None:
    """Open an attempt on the job that is due first among those of `models`."""
    due = jobs.next_queued(tx, models, now)
    if due is None:
        return None
    job = moves.claim(tx, due, lease_until=now + lease)
    if job is None:
        return None
    token = secrets.token_urlsafe(32)
    attempts.open_attempt(tx, job, token_hash=hash_secret(token), worker=worker, now=now)
    return Claim(job, token)
