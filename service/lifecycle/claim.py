"""Claim a queued job for a worker."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain.attempt import Ticket
from service.domain.job import Job
from service.domain.key import hash_secret
from service.domain.models.card import ModelCard
from service.store import attempts, jobs, keys, moves
from service.store.transaction import Transaction


@dataclass(frozen=True)
class Claim:
    """A claimed job and the secret by which its worker may report on it."""

    job: Job
    token: str

    def ticket(self, card: ModelCard, api_url: str) -> Ticket:
        """Make the worker's ticket; `api_url` is where it reports."""
        return Ticket(
            job_id=self.job.id,
            attempt=self.job.attempt,
            fence=self.job.fence,
            token=self.token,
            request=self.job.request,
            card=card,
            profile=self.job.profile,
            api_url=api_url,
            traceparent=self.job.traceparent,
        )


def claim(
    tx: Transaction,
    models: list[str],
    *,
    worker: str,
    lease: timedelta,
    max_active: int,
    now: datetime,
) -> Claim | None:
    """Open an attempt on the first job in line for one of `models`; None if there is none.

    The highest priority goes first; within it the keys take turns. Keys with `max_active` jobs
    starting or running are skipped, and so are keys whose row another transaction has locked:
    waiting for a lock could outlast the worker's request.
    """
    for candidate in jobs.candidates(tx, models, now, limit=max_active):
        due = jobs.take_first(tx, candidate, now)
        if due is None:
            continue  # another claim has taken it since the query
        # Another claim may have reached the key's limit since the query.
        if keys.try_lock(tx, due.key_id) and keys.increment_active(
            tx, due.key_id, limit=max_active
        ):
            return _open(tx, due, worker, lease, now)
    return None


def _open(tx: Transaction, due: Job, worker: str, lease: timedelta, now: datetime) -> Claim:
    job = moves.claim(tx, due, lease_until=now + lease)
    token = secrets.token_urlsafe(32)
    attempts.open_attempt(tx, job, token_hash=hash_secret(token), worker=worker, now=now)
    return Claim(job, token)
