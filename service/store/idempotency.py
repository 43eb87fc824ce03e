"""The idempotency table: which Idempotency-Key already made which job."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from service.domain.job import Job, KeyId
from service.domain.submission import Idempotency
from service.store.database import Transaction
from service.store.tables import IdempotencyRow

_idempotency: sa.Table = IdempotencyRow.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Remembered:
    fingerprint: bytes
    accepted: Job  # as it was answered the first time


def find(tx: Transaction, key_id: KeyId, name: str, *, now: datetime) -> Remembered | None:
    """What this name made, unless it was forgotten in the meantime."""
    statement = sa.select(_idempotency.c.fingerprint, _idempotency.c.accepted).where(
        _idempotency.c.key_id == key_id,
        _idempotency.c.name == name,
        _idempotency.c.expires_at > now,
    )
    row = tx.execute(statement).mappings().first()
    if row is None:
        return None
    return Remembered(row["fingerprint"], Job.model_validate(row["accepted"]))


def remember(tx: Transaction, job: Job, idempotency: Idempotency, *, expires_at: datetime) -> None:
    _forget(tx, job.key_id, idempotency.name)
    tx.execute(
        sa.insert(_idempotency),
        {
            "key_id": job.key_id,
            "name": idempotency.name,
            "fingerprint": idempotency.fingerprint,
            "job_id": job.id,
            "accepted": job.model_dump(mode="json"),
            "expires_at": expires_at,
        },
    )


def old(tx: Transaction, now: datetime) -> bool:
    """Whether there are names whose time is over."""
    statement = sa.select(_idempotency.c.name).where(_idempotency.c.expires_at <= now).limit(1)
    return tx.execute(statement).first() is not None


def forget(tx: Transaction, now: datetime, *, size: int) -> int:
    """Delete up to `size` names whose time is over."""
    table = _idempotency
    old = (
        sa.select(table.c.key_id, table.c.name).where(table.c.expires_at <= now).limit(size)
    ).subquery()
    expired = sa.exists().where(old.c.key_id == table.c.key_id, old.c.name == table.c.name)
    return tx.execute(sa.delete(table).where(expired)).rowcount


def _forget(tx: Transaction, key_id: KeyId, name: str) -> None:
    """An expired row of the same name makes room."""
    tx.execute(
        sa.delete(_idempotency).where(_idempotency.c.key_id == key_id, _idempotency.c.name == name)
    )
