"""The jobs that ended, counted by hour, model, state and error: the figures of a month are sums of
these (docs/decisions/0031-hours.md)."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from service.domain.job import Job, JobState
from service.domain.window import Window
from service.store.columns import Instant, micros
from service.store.transaction import Transaction
from service.store.upsert import adding_upsert

_HOUR = 3_600_000_000  # in the unit of an Instant


class HourRow(SQLModel, table=True):
    """The number of jobs that ended within an hour, of one model, state and error, less those that
    are deleted since."""

    __tablename__ = "hours"

    hour: datetime = Field(sa_type=Instant, primary_key=True)  # its begin
    model: str = Field(max_length=64, primary_key=True)
    state: str = Field(max_length=16, primary_key=True)
    error_code: str = Field(max_length=64, primary_key=True)  # empty: none
    jobs: int = Field(sa_type=sa.BigInteger)
    user_failures: int = Field(sa_type=sa.BigInteger)  # of those jobs: for their users to mend

    __table_args__ = ({"sqlite_with_rowid": False},)


class Failures(NamedTuple):
    """The jobs that ended with one error, and those of them that their users must mend. Jobs that
    expired have no code."""

    state: JobState
    code: str | None
    jobs: int
    user_failures: int


def count_ended(tx: Transaction, window: Window, parts: int) -> dict[str, list[Counter[JobState]]]:
    """Count the jobs of each model that ended within each of so many equal parts of the window, by
    state."""
    start, end = micros(window.start), micros(window.end)
    width = (end - start) // parts
    values = {"start": start, "end": end, "width": width, "last": parts - 1, "hour": _HOUR}
    counts: dict[str, list[Counter[JobState]]] = {}
    rows: list[Any] = list(tx.execute(_ENDED, values))
    for part, model, state, number in rows:
        if model not in counts:
            counts[model] = [Counter() for _ in range(parts)]
        counts[model][part][JobState(state)] += number
    return counts


def count_failures(tx: Transaction, window: Window) -> dict[str, list[Failures]]:
    """Count the jobs of each model that failed or expired within the window by their errors."""
    start, end = micros(window.start), micros(window.end)
    first_hour = min(-(-start // _HOUR) * _HOUR, end)
    end_hour = max(end // _HOUR * _HOUR, first_hour)
    values = {"start": start, "first_hour": first_hour, "end_hour": end_hour, "end": end}
    by_model: dict[str, list[Failures]] = {}
    rows: list[Any] = list(tx.execute(_FAILURES, values))
    for model, state, code, number, user_failures in rows:
        failure = Failures(JobState(state), code or None, number, user_failures)
        by_model.setdefault(model, []).append(failure)
    return by_model


def add(tx: Transaction, job: Job) -> None:
    """Count a final job in the hour of its end."""
    tx.execute(_COUNT[tx.connection.dialect.name], _of_hour(job))


def remove(tx: Transaction, job: Job) -> None:
    """Count a final job no longer: it is deleted."""
    values = {f"of_{name}": value for name, value in _of_hour(job).items()}
    tx.execute(_DISCOUNT, values)
    tx.execute(_DELETE_EMPTY, values)


def _of_hour(job: Job) -> dict[str, Any]:
    assert job.finished_at is not None, "final"
    return {
        "hour": job.finished_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0),
        "model": job.request.model,
        "state": job.state.value,
        "error_code": job.error.code if job.error else "",
        "jobs": 1,
        "user_failures": int(job.error is not None and job.error.is_user_failure),
    }


_hours: sa.Table = HourRow.__table__  # type: ignore[attr-defined]
_COUNT = adding_upsert(_hours, "jobs", "user_failures")


def _of(column: sa.Column[Any]) -> sa.BindParameter[Any]:
    return sa.bindparam(f"of_{column.name}", type_=column.type)


_SAME = [column == _of(column) for column in _hours.primary_key]
_DISCOUNT = (
    sa.update(_hours)
    .where(*_SAME)
    .values({column: column - _of(column) for column in (_hours.c.jobs, _hours.c.user_failures)})
)
_DELETE_EMPTY = sa.delete(_hours).where(*_SAME, _hours.c.jobs <= 0)


def _query(text: str, *numbers: str, **columns: Any) -> sa.TextualSelect:
    parameters = [sa.bindparam(name, type_=sa.BigInteger) for name in numbers]
    return sa.text(text).bindparams(*parameters).columns(**columns)


# The whole hours within each part of a window are sums of the hours table. Its edges, of less than
# an hour each, are counted by model and state, from the index alone: to group them, all would be
# sorted. One statement reads both, so that they fit together.
_ENDED = _query(
    """
    WITH RECURSIVE numbers(part) AS (
        SELECT 0 UNION ALL SELECT part + 1 FROM numbers WHERE part < :last
    ),
    parts AS (
        SELECT part, :start + part * :width AS since,
            CASE WHEN part < :last THEN :start + (part + 1) * :width ELSE :end END AS until
        FROM numbers
    ),
    rounded AS (
        SELECT part, since, until, (since + :hour - 1) / :hour * :hour AS first_hour,
            until / :hour * :hour AS end_hour
        FROM parts
    ),
    edges AS (
        SELECT part, since, CASE WHEN first_hour < until THEN first_hour ELSE until END AS until
        FROM rounded
        UNION ALL SELECT part, end_hour, until FROM rounded WHERE first_hour <= end_hour
    ),
    kinds AS (
        SELECT DISTINCT model, state FROM hours WHERE hour > :start - :hour AND hour < :end
    ),
    counted AS (
        SELECT part, model, state, jobs FROM rounded CROSS JOIN hours
        WHERE hour >= first_hour AND hour < end_hour
        UNION ALL SELECT part, model, state, (
            SELECT count(*) FROM jobs WHERE jobs.model = kinds.model AND jobs.state = kinds.state
            AND finished_at >= since AND finished_at < until
        ) FROM edges CROSS JOIN kinds
    )
    SELECT part, model, state, CAST(sum(jobs) AS BIGINT) FROM counted
    GROUP BY part, model, state HAVING sum(jobs) > 0
    """,
    *("start", "end", "width", "last", "hour"),
    part=sa.Integer,
    model=sa.String,
    state=sa.String,
    jobs=sa.BigInteger,
)
_FAILURES = _query(
    """
    SELECT model, state, code, CAST(sum(jobs) AS BIGINT), CAST(sum(user_failures) AS BIGINT) FROM (
        SELECT model, state, error_code AS code, jobs, user_failures FROM hours
        WHERE hour >= :first_hour AND hour < :end_hour AND state IN ('failed', 'expired')
        UNION ALL
        SELECT model, state, coalesce(error_code, ''), 1,
            CASE WHEN error_kind = 'user' THEN 1 ELSE 0 END
        FROM jobs WHERE state IN ('failed', 'expired') AND (
            finished_at >= :start AND finished_at < :first_hour
            OR finished_at >= :end_hour AND finished_at < :end
        )
    ) AS failed GROUP BY model, state, code
    """,
    *("start", "first_hour", "end_hour", "end"),
    model=sa.String,
    state=sa.String,
    code=sa.String,
    jobs=sa.BigInteger,
    user_failures=sa.BigInteger,
)
