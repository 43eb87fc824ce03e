"""The idempotency table: the job that each Idempotency-Key created."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from service.domain.ids import KeyId
from service.domain.job import Idempotency, Job
from service.store.tables import IdempotencyRow
from service.store.transaction import Transaction

_idempotency: sa.Table = IdempotencyRow.__table__  # type: ignore[attr-defined]
_NAMED = sa.tuple_(_idempotency.c.key_id, _idempotency.c.name).in_(
    sa.bindparam("names", expanding=True)
)
_EXPIRES = _idempotency.c.expires_at.type
_BY_NAMES = sa.select(
    _idempotency.c.key_id,
    _idempotency.c.name,
    _idempotency.c.fingerprint,
    _idempotency.c.accepted,
).where(_NAMED, _idempotency.c.expires_at > sa.bindparam("now", type_=_EXPIRES))
_DELETE_EXPIRED = sa.delete(_idempotency).where(
    _NAMED, _idempotency.c.expires_at <= sa.bindparam("now", type_=_EXPIRES)
)


class Name(NamedTuple):
    """An Idempotency-Key and the API key that sent it."""

    key_id: KeyId
    text: str


@dataclass(frozen=True)
class IdempotencyRecord:
    fingerprint: bytes
    job: Job  # as it was answered the first time


def find(
    tx: Transaction, names: Collection[Name], *, now: datetime
) -> dict[Name, IdempotencyRecord]:
    """Look up the records of these names that have not expired."""
    rows = tx.execute(_BY_NAMES, {"names": list(names), "now": now}).mappings()
    return {
        Name(row["key_id"], row["name"]): IdempotencyRecord(
            row["fingerprint"], Job.model_validate(row["accepted"])
        )
        for row in rows
    }


def insert(
    tx: Transaction,
    records: Sequence[tuple[Job, Idempotency]],
    *,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Record the jobs created under these names, each of which is new or has expired."""
    rows = [
        {
            "key_id": job.key_id,
            "name": idempotency.name,
            "fingerprint": idempotency.fingerprint,
            "job_id": job.id,
            "accepted": job.model_dump(mode="json"),
            "expires_at": expires_at,
        }
        for job, idempotency in records
    ]
    names = [Name(job.key_id, idempotency.name) for job, idempotency in records]
    tx.execute(_DELETE_EXPIRED, {"names": names, "now": now})
    tx.execute(sa.insert(_idempotency), rows)


def has_expired(tx: Transaction, now: datetime) -> bool:
    """Tell whether any record has expired."""
    statement = sa.select(_idempotency.c.name).where(_idempotency.c.expires_at <= now).limit(1)
    return tx.execute(statement).first() is not None


def delete_expired(tx: Transaction, now: datetime, *, size: int) -> int:
    """Delete up to `size` expired records."""
    table = _idempotency
    batch = (
        sa.select(table.c.key_id, table.c.name).where(table.c.expires_at <= now).limit(size)
    ).subquery()
    in_batch = sa.exists().where(batch.c.key_id == table.c.key_id, batch.c.name == table.c.name)
    return tx.execute(sa.delete(table).where(in_batch)).rowcount
