"""Hand a queued job to a worker that asked for one."""

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
        """What its worker is handed; `api_url` is where that reports."""
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
    """Open an attempt on the job whose turn it is among those of `models`.

    The highest priority goes first; within it the keys take turns. A key that has `max_active`
    jobs starting or running is passed over, and so is one whose row another transaction holds: the
    next look may find it free. Nothing is waited for here: by then the worker may have hung up.
    """
    for candidate in jobs.candidates(tx, models, now, limit=max_active):
        due = jobs.take_first(tx, candidate, now)
        if due is None:
            continue  # another claim has taken it since the look
        # Its last place may be taken since the look.
        if keys.hold_free(tx, due.key_id) and keys.enter_active(tx, due.key_id, limit=max_active):
            return _open(tx, due, worker, lease, now)
    return None


def _open(tx: Transaction, due: Job, worker: str, lease: timedelta, now: datetime) -> Claim:
    job = moves.claim(tx, due, lease_until=now + lease)
    assert job is not None, "a job that is held is not moved by others"
    token = secrets.token_urlsafe(32)
    attempts.open_attempt(tx, job, token_hash=hash_secret(token), worker=worker, now=now)
    return Claim(job, token)
