"""The idempotency table: which Idempotency-Key already made which job."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from service.domain.ids import KeyId
from service.domain.job import Job
from service.domain.submission import Idempotency
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
_FORGET_OLD = sa.delete(_idempotency).where(
    _NAMED, _idempotency.c.expires_at <= sa.bindparam("now", type_=_EXPIRES)
)


class Name(NamedTuple):
    """An Idempotency-Key and whose it is."""

    key_id: KeyId
    text: str


@dataclass(frozen=True)
class IdempotencyRecord:
    fingerprint: bytes
    accepted: Job  # as it was answered the first time


def find(
    tx: Transaction, names: Collection[Name], *, now: datetime
) -> dict[Name, IdempotencyRecord]:
    """What these names made, unless their time is over."""
    rows = tx.execute(_BY_NAMES, {"names": list(names), "now": now}).mappings()
    return {
        Name(row["key_id"], row["name"]): IdempotencyRecord(
            row["fingerprint"], Job.model_validate(row["accepted"])
        )
        for row in rows
    }


def remember(
    tx: Transaction, made: Sequence[tuple[Job, Idempotency]], *, now: datetime, expires_at: datetime
) -> None:
    """Which jobs these names made; none of them is known, or its time is over."""
    rows = [
        {
            "key_id": job.key_id,
            "name": idempotency.name,
            "fingerprint": idempotency.fingerprint,
            "job_id": job.id,
            "accepted": job.model_dump(mode="json"),
            "expires_at": expires_at,
        }
        for job, idempotency in made
    ]
    names = [Name(job.key_id, idempotency.name) for job, idempotency in made]
    tx.execute(_FORGET_OLD, {"names": names, "now": now})
    tx.execute(sa.insert(_idempotency), rows)


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
