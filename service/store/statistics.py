"""Counts and times of jobs, for the overview: of those that wait or run now, and by when they
ended."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from service.domain.ids import JobId, KeyId
from service.domain.job import FINAL, Job, JobState
from service.domain.service_level import FinishedJob
from service.domain.window import Window
from service.store.attempts import attempt_table
from service.store.columns import micros
from service.store.job_rows import job_table, to_job
from service.store.tables import ACTIVE_STATES, QUEUED
from service.store.transaction import Transaction

_QUEUED = sa.text(QUEUED)
_ACTIVE = sa.text(ACTIVE_STATES)
_MAX_ATTEMPTS = 200  # in a list
_MAX_STEP = 100  # so many index entries are read for each job of a sample


class WaitingGroup(NamedTuple):
    """The queued jobs of one key for one model."""

    model: str
    key_id: KeyId
    jobs: int
    oldest_at: datetime  # when the first of them was submitted
    due_at: datetime  # before which none of them may start


class OpenAttempt(NamedTuple):
    """An attempt that a worker holds, and its job."""

    worker: str
    claimed_at: datetime
    heard_at: datetime | None
    job: Job


def waiting_groups(tx: Transaction) -> list[WaitingGroup]:
    """List the queued jobs by model and key, the longest waiting first."""
    model, key_id = job_table.c.model, job_table.c.key_id
    oldest = sa.func.min(job_table.c.created_at, type_=job_table.c.created_at.type)
    due = sa.func.min(job_table.c.run_at, type_=job_table.c.run_at.type)
    statement = (
        sa.select(model, key_id, sa.func.count(), oldest, due)
        .where(_QUEUED)
        .group_by(model, key_id)
        .order_by(oldest)
    )
    return [WaitingGroup._make(row) for row in tx.execute(statement)]


def active_by_model(tx: Transaction) -> dict[str, int]:
    """Count the jobs of each model that are starting or running."""
    model = job_table.c.model
    rows = tx.execute(
        sa.select(model, sa.func.count().label("jobs")).where(_ACTIVE).group_by(model)
    )
    return {row.model: row.jobs for row in rows}


def busy_workers(tx: Transaction) -> set[str]:
    """Return the names of all workers that hold a job."""
    attempt = attempt_table.c
    statement = (
        sa.select(attempt.worker)
        .join_from(job_table, attempt_table, attempt.job_id == job_table.c.id)
        .where(_ACTIVE, attempt.ended_at.is_(None))
    )
    return set(tx.execute(statement).scalars())


def open_attempts(tx: Transaction) -> list[OpenAttempt]:
    """List the first attempts at jobs that are starting or running, by worker."""
    attempt = attempt_table.c
    columns = [
        attempt.worker.label("worker"),
        attempt.created_at.label("claimed_at"),
        attempt.heartbeat_at.label("heard_at"),
    ]
    statement = (
        sa.select(job_table, *(column.label(f"attempt_{column.name}") for column in columns))
        .join(attempt_table, attempt.job_id == job_table.c.id)
        .where(_ACTIVE, attempt.ended_at.is_(None))
        .order_by(attempt.worker, job_table.c.id)
        .limit(_MAX_ATTEMPTS)
    )
    names = [column.name for column in columns]
    return [
        OpenAttempt(**{name: row[f"attempt_{name}"] for name in names}, job=to_job(row))
        for row in tx.execute(statement).mappings()
    ]


def forsaken(tx: Transaction, before: datetime) -> list[JobId]:
    """List open jobs whose lease ended before that moment, and which nobody has settled since."""
    statement = sa.select(job_table.c.id).where(_ACTIVE, job_table.c.lease_until < before)
    in_order = job_table.c.id.concat("")  # of the id itself, SQLite would read all jobs in order
    return list(tx.execute(statement.order_by(in_order).limit(100)).scalars())


def mean_costs(
    tx: Transaction, window: Window, model: str | None = None, *, size: int
) -> dict[JobState, float]:
    """Return the mean dollars of the jobs that ended within the window without a video, by state:
    of the newest `size` of each."""
    job = job_table.c
    newest = sa.union_all(
        *(
            sa.select(
                sa.select(job.state, job.actual_microusd)
                .where(*_ended_in(window, model), job.state == state)
                .order_by(job.finished_at.desc())
                .limit(size)
                .subquery()
            )
            for state in sorted(FINAL - {JobState.SUCCEEDED})
        )
    ).subquery()
    mean = sa.func.avg(sa.func.coalesce(newest.c.actual_microusd, 0))
    statement = sa.select(newest.c.state, mean).group_by(newest.c.state)
    rows: list[Any] = list(tx.execute(statement))
    return {JobState(state): float(usd) / 1e6 for state, usd in rows}


def finished_jobs(
    tx: Transaction,
    window: Window,
    parts: Sequence[int],
    model: str | None = None,
    *,
    size: int,
) -> list[FinishedJob]:
    """List about `size` of the jobs that succeeded within the window, or all of fewer.

    `parts` are the numbers that succeeded in its equal parts. Each part gives as large a share of
    its jobs, spread over its newest, so that percentiles are those of the whole window.
    """
    total, counted, listed = sum(parts), 0, 0
    first, last = micros(window.start), micros(window.end)
    width = (last - first) // len(parts)
    values: dict[str, Any] = {"model": model}
    for number, count in enumerate(parts):
        counted += count
        share = (counted if total <= size else counted * size // total) - listed
        listed += share
        step = min(_MAX_STEP, count // share) if share else 1
        start = first + number * width
        end = last if number == len(parts) - 1 else start + width
        values |= {f"start_{number}": start, f"end_{number}": end}
        values |= {f"size_{number}": share * step, f"step_{number}": step}
    return [
        FinishedJob(
            created_at=row.created_at,
            claimed_at=row.claimed_at,
            begun_at=row.begun_at or row.claimed_at,
            finished_at=row.finished_at,
            timings_ms=row.timings_ms or {},
            seconds=row.num_frames / row.fps,
            cost_usd=(row.actual_microusd or 0) / 1e6,
            is_placeholder=bool(row.sandbox),
        )
        for row in tx.execute(_finished(len(parts), model is not None), values)
    ]


@cache
def _finished(parts: int, of_model: bool) -> sa.Select[Any]:
    """Build a query for some of the succeeded jobs of each part of a window. It picks them by the
    index alone."""
    job, attempt = job_table.c, attempt_table.c
    conditions = [job.state == JobState.SUCCEEDED]
    if of_model:
        conditions.append(job.model == sa.bindparam("model"))
    union = sa.union_all(*(_one_in_step(number, *conditions) for number in range(parts)))
    # Made once: without statistics of the tables, Postgres would make it anew for each job.
    picked = sa.select(union.cte("picked").prefix_with("MATERIALIZED", dialect="postgresql"))
    return sa.select(
        job.created_at, job.finished_at, job.timings_ms, job.actual_microusd,
        job.result["num_frames"].as_integer().label("num_frames"),
        job.result["fps"].as_integer().label("fps"),
        job.result["sandbox"].as_boolean().label("sandbox"),
        attempt.created_at.label("claimed_at"), attempt.started_at.label("begun_at"),
    ).where(
        *conditions, job.finished_at.in_(picked),
        attempt.job_id == job.id, attempt.number == job.attempt,
    )  # fmt: skip


def _one_in_step(part: int, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Build a query for when jobs of a part ended: about one in `step` of its newest."""

    def number(name: str) -> sa.BindParameter[int]:
        return sa.bindparam(f"{name}_{part}", type_=sa.BigInteger)

    finished_at = job_table.c.finished_at
    ended_at = sa.type_coerce(finished_at, sa.BigInteger)
    newest = (
        sa.select(finished_at)
        .where(*conditions, ended_at >= number("start"), ended_at < number("end"))
        .order_by(finished_at.desc())
        .limit(number("size"))
        .subquery()
        .c.finished_at
    )
    # Two primes scatter the moments, also those in whole seconds: to number the jobs in their order
    # takes five times as long.
    scattered = sa.type_coerce(newest, sa.BigInteger) % 999_983 * 7_919 % 10_007
    return sa.select(newest).where(scattered % number("step") == 0)


def _ended_in(window: Window, model: str | None) -> list[sa.ColumnElement[bool]]:
    finished_at = job_table.c.finished_at
    conditions = [finished_at >= window.start, finished_at < window.end]
    return conditions if model is None else [*conditions, job_table.c.model == model]
