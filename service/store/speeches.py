"""Queued jobs whose text is to be spoken before a worker gets them."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from service.domain.ids import JobId, KeyId
from service.domain.job import Job
from service.domain.speech import OF_PROVIDERS
from service.store.job_rows import job_table, to_job
from service.store.tables import UNSPOKEN
from service.store.transaction import Transaction

_UNSPOKEN = sa.text(UNSPOKEN)
_VOICE = sa.func.coalesce(job_table.c.request["voice"].as_string(), "")
_BY_PROVIDER = sa.or_(*(_VOICE.startswith(prefix, autoescape=True) for prefix in OF_PROVIDERS))


class Due(NamedTuple):
    """A job whose text can be spoken now."""

    id: JobId
    key_id: KeyId


def due(
    tx: Transaction,
    now: datetime,
    *,
    busy_keys: Collection[KeyId],
    size: int,
    by_provider: bool | None = None,
) -> list[Due]:
    """List due jobs of other keys than `busy_keys`: the highest priority first, and within it the
    one that is due for longest. `by_provider` takes those that a provider speaks, or this machine;
    None: both."""
    is_wanted = sa.true() if by_provider is None else _BY_PROVIDER.is_(by_provider)
    statement = (
        sa.select(job_table.c.id, job_table.c.key_id)
        .where(
            _UNSPOKEN,
            job_table.c.speech_at <= now,
            job_table.c.key_id.not_in(sorted(busy_keys)),
            is_wanted,
        )
        .order_by(job_table.c.priority, job_table.c.speech_at, job_table.c.id)
        .limit(size)
    )
    return [Due._make(row) for row in tx.execute(statement)]


def take(tx: Transaction, job_id: JobId, now: datetime, *, until: datetime) -> Job | None:
    """Take a due job for one try, which counts as lost after `until`; None if it is not due any
    more."""
    statement = (
        sa.update(job_table)
        .where(job_table.c.id == job_id, _UNSPOKEN, job_table.c.speech_at <= now)
        .values(speech_at=until, stage_detail=None)
        .returning(job_table)
    )
    row = tx.execute(statement).mappings().first()
    return None if row is None else to_job(row)


def release(tx: Transaction, job_id: JobId) -> None:
    """End the try of a job that does not wait for its speech any more."""
    tx.execute(sa.update(job_table).where(job_table.c.id == job_id).values(speech_at=None))


def make_all_due(tx: Transaction, now: datetime) -> None:
    """Make each job due that waits: for its provider, or for a try of a process that has ended."""
    tx.execute(
        sa.update(job_table).where(_UNSPOKEN, job_table.c.speech_at > now).values(speech_at=now)
    )
