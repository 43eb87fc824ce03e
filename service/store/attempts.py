"""The attempts table: every try at a job, its worker and how it ended."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from service.domain.attempt import FailureKind
from service.domain.ids import JobId
from service.domain.job import Job
from service.domain.price import Charge
from service.store.tables import AttemptRow
from service.store.transaction import Transaction

LAPSED = "lapsed"  # the outcome of an attempt that no worker began

attempt_table: sa.Table = AttemptRow.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Attempt:
    """One try at a job."""

    job_id: JobId
    number: int
    model: str | None
    fence: int
    token_hash: bytes
    worker: str
    call_id: str | None
    restarts: int
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    ended_at: datetime | None
    outcome: str | None
    error_kind: FailureKind | None
    error_detail: str | None
    gpu_ms: int
    cost_microusd: int


_COLUMNS = [attempt_table.c[name] for name in Attempt.__dataclass_fields__]


def open_attempt(
    tx: Transaction, job: Job, *, token_hash: bytes, worker: str, now: datetime
) -> None:
    tx.execute(
        sa.insert(attempt_table),
        {
            "job_id": job.id,
            "number": job.attempt,
            "model": job.request.model,
            "fence": job.fence,
            "token_hash": token_hash,
            "worker": worker,
            "created_at": now,
        },
    )


def get(tx: Transaction, job_id: JobId, number: int) -> Attempt | None:
    statement = sa.select(*_COLUMNS).where(_is_attempt(job_id, number))
    row = tx.execute(statement).mappings().first()
    return None if row is None else Attempt(**row)


def of_job(tx: Transaction, job_id: JobId) -> list[Attempt]:
    """List all attempts at a job, the first one first."""
    statement = (
        sa.select(*_COLUMNS)
        .where(attempt_table.c.job_id == job_id)
        .order_by(attempt_table.c.number)
    )
    return [Attempt(**row) for row in tx.execute(statement).mappings()]


def belongs_to_other_attempt(tx: Transaction, job: Job, call_id: str) -> bool:
    """Tell whether this call belongs to an attempt other than the job's newest."""
    statement = sa.select(attempt_table.c.number).where(
        attempt_table.c.call_id == call_id, sa.not_(_is_attempt(job.id, job.attempt))
    )
    return tx.execute(statement).first() is not None


def set_call_id(tx: Transaction, job: Job, call_id: str) -> None:
    """Record the call started for the attempt, unless its worker has reported one already."""
    tx.execute(
        sa.update(attempt_table)
        .where(_is_attempt(job.id, job.attempt), attempt_table.c.call_id.is_(None))
        .values(call_id=call_id)
    )


def begin(tx: Transaction, job: Job, *, call_id: str, now: datetime) -> None:
    _set(tx, job, call_id=call_id, fence=job.fence, started_at=now, heartbeat_at=now)


def restart(tx: Transaction, job: Job, *, counts: bool, now: datetime) -> None:
    restarts = attempt_table.c.restarts + int(counts)
    _set(tx, job, fence=job.fence, heartbeat_at=now, restarts=restarts)


def heartbeat(tx: Transaction, job: Job, *, now: datetime) -> None:
    _set(tx, job, heartbeat_at=now)


def end(
    tx: Transaction,
    job: Job,
    *,
    outcome: str,
    charge: Charge,
    kind: FailureKind | None = None,
    detail: str | None = None,
) -> None:
    """Close the job's open attempt, if it has one."""
    tx.execute(
        sa.update(attempt_table)
        .where(attempt_table.c.job_id == job.id, attempt_table.c.ended_at.is_(None))
        .values(
            ended_at=charge.at,
            outcome=outcome,
            error_kind=kind,
            error_detail=detail,
            gpu_ms=charge.gpu_ms,
            cost_microusd=charge.microusd,
        )
    )


def count_failed(tx: Transaction, job: Job, kind: FailureKind) -> int:
    """Count the attempts at this job with its present model that ended with `kind`."""
    return _count(tx, job, attempt_table.c.error_kind == kind)


def count_lapsed(tx: Transaction, job: Job) -> int:
    """Count the attempts at this job with its present model that no worker began."""
    return _count(tx, job, attempt_table.c.outcome == LAPSED)


def abandoned_calls(tx: Transaction, since: datetime) -> list[str]:
    """List the calls of attempts that the service ended since then; their workers may still run."""
    ended_by_us = sa.or_(
        attempt_table.c.outcome.in_(("canceled", "released", LAPSED)),
        attempt_table.c.error_kind.in_((FailureKind.LOST, FailureKind.TIMEOUT)),
    )
    statement = sa.select(attempt_table.c.call_id).where(
        attempt_table.c.call_id.is_not(None), attempt_table.c.ended_at >= since, ended_by_us
    )
    return list(tx.execute(statement).scalars())


def _count(tx: Transaction, job: Job, condition: sa.ColumnElement[bool]) -> int:
    model = attempt_table.c.model
    statement = (
        sa.select(sa.func.count())
        .select_from(attempt_table)
        .where(
            attempt_table.c.job_id == job.id,
            sa.or_(model.is_(None), model == job.request.model),
            condition,
        )
    )
    return int(tx.execute(statement).scalar_one())


def _set(tx: Transaction, job: Job, **values: Any) -> None:
    tx.execute(sa.update(attempt_table).where(_is_attempt(job.id, job.attempt)).values(**values))


def _is_attempt(job_id: JobId, number: int) -> sa.ColumnElement[bool]:
    return sa.and_(attempt_table.c.job_id == job_id, attempt_table.c.number == number)
