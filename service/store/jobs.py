"""The jobs table: inserts, queries and deletes; state changes are in moves.py. Beside it: the
models that are paused, and those that are kept warm."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from service.domain import topics
from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobState, left_ms
from service.domain.queue_order import Waiting
from service.store import deliveries, events, hours, labels
from service.store.admin_tables import PausedModelRow, WarmModelRow
from service.store.columns import micros
from service.store.job_rows import job_table, to_job, to_row
from service.store.tables import ACTIVE_STATES, INPUTS_KEPT, QUEUED, KeyRow
from service.store.transaction import Transaction

_QUEUED = sa.text(QUEUED)
_ACTIVE_NOW = sa.text(ACTIVE_STATES)


class Candidate(NamedTuple):
    """A job that a claim may take; the fields are in claim order."""

    priority: int
    last_turn: int
    run_at: datetime
    id: str
    key_id: str
    model: str


# Hot statements are built once: building one costs more than running it.


def _param(name: str, column: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=job_table.c[column].type)


_BY_ID = sa.select(job_table).where(job_table.c.id == _param("job_id", "id"))
_BY_ID_AND_KEY = _BY_ID.where(job_table.c.key_id == _param("owner", "key_id"))
_BY_IDS = sa.select(job_table).where(job_table.c.id.in_(sa.bindparam("ids", expanding=True)))
_BY_IDS_AND_KEYS = _BY_IDS.where(job_table.c.key_id.in_(sa.bindparam("owners", expanding=True)))
# Of leases, which all of them have: to count rows, SQLite would read the index of all states.
_ACTIVE = sa.select(sa.func.count(job_table.c.lease_until)).where(_ACTIVE_NOW)
_WAITING = sa.select(*(job_table.c[name] for name in Waiting._fields)).where(_QUEUED)
_BUSY = sa.select(job_table.c.model, job_table.c.expected_ms, job_table.c.attempt_progress).where(
    _ACTIVE_NOW
)
_INSERT = sa.insert(job_table)


def insert(tx: Transaction, new: Sequence[Job]) -> None:
    """Insert queued jobs; their keys' counters already include them."""
    tx.execute(_INSERT, [to_row(job) for job in new])
    labels.insert(tx, new)
    for model in {job.request.model for job in new}:
        tx.notify(topics.of_queue(model))
    if any(job.speech_at is not None for job in new):
        tx.notify(topics.SPEECH)


def get(tx: Transaction, job_id: JobId, *, key_id: KeyId | None = None) -> Job | None:
    """Return the job if it exists and, where `key_id` is given, belongs to that key."""
    statement = _BY_ID if key_id is None else _BY_ID_AND_KEY
    row = tx.execute(statement, {"job_id": job_id, "owner": key_id}).mappings().first()
    return None if row is None else to_job(row)


def get_all(tx: Transaction, ids: Sequence[JobId]) -> dict[JobId, Job]:
    """Return the jobs with these ids, leaving out ids that are no jobs."""
    rows = tx.execute(_BY_IDS, {"ids": list(ids)}).mappings()
    return {job.id: job for job in map(to_job, rows)}


def get_of_keys(tx: Transaction, ids: Sequence[JobId], key_ids: Sequence[KeyId]) -> list[Job]:
    """Return those of these jobs that belong to one of these keys."""
    values = {"ids": list(ids), "owners": list(key_ids)}
    return [to_job(row) for row in tx.execute(_BY_IDS_AND_KEYS, values).mappings()]


def retries_of(tx: Transaction, job_id: JobId) -> list[Job]:
    """List the retries of a job."""
    return _all(tx, job_table.c.retry_of == job_id, size=50)


def count_running(tx: Transaction) -> int:
    """Count the jobs that are starting or running."""
    return int(tx.execute(_ACTIVE).scalar_one())


def count_active(tx: Transaction, model: str) -> int:
    """Count the jobs of one model that are starting or running."""
    return int(tx.execute(_ACTIVE.where(job_table.c.model == model)).scalar_one())


def get_for_update(tx: Transaction, job_id: JobId, *, key_id: KeyId | None = None) -> Job | None:
    """Return the job as `get` does, its row locked until this transaction ends."""
    statement = _BY_ID if key_id is None else _BY_ID_AND_KEY
    values = {"job_id": job_id, "owner": key_id}
    row = tx.execute(statement.with_for_update(), values).mappings().first()
    return None if row is None else to_job(row)


def waiting(tx: Transaction) -> list[Waiting]:
    """List all queued jobs, unordered."""
    return [Waiting._make(row) for row in tx.execute(_WAITING)]


def remaining_times(tx: Transaction) -> list[tuple[str, float]]:
    """List each active job's model and the milliseconds that it is expected to take yet."""
    return [
        (row.model, left_ms(row.expected_ms, row.attempt_progress)) for row in tx.execute(_BUSY)
    ]


def candidates(tx: Transaction, models: list[str], now: datetime, *, limit: int) -> list[Candidate]:
    """List the first due job of each key with fewer than `limit` active ones, best first; none of
    a paused model.

    Best is the highest priority, and within it the key whose last turn is longest ago.
    """
    rows = [
        Candidate(row.priority, row.served, row.run_at, row.id, row.key_id, model)
        for model in models
        for row in tx.execute(_CANDIDATES, {"model": model, "now": now, "limit": limit})
    ]
    return sorted(rows)


def take_first(tx: Transaction, candidate: Candidate, now: datetime) -> Job | None:
    """Lock and return the key's first due job of that priority and model that no claim holds."""
    values = {"model": candidate.model, "now": now, "owner": candidate.key_id}
    values["priority"] = candidate.priority
    row = tx.execute(_TAKE_FIRST, values).mappings().first()
    return None if row is None else to_job(row)


_first = job_table.alias("first")


def _before_deadline(jobs: Any) -> sa.ColumnElement[bool]:
    """Leave out jobs past their start deadline: a tick expires them or changes their model."""
    deadline = jobs.c.start_deadline_at
    return sa.or_(deadline.is_(None), deadline >= _param("now", "run_at"))


_keys: sa.Table = KeyRow.__table__  # type: ignore[attr-defined]
paused_table: sa.Table = PausedModelRow.__table__  # type: ignore[attr-defined]
_FIRST_OF_KEY = (
    sa.select(_first.c.id)
    .where(
        sa.text(f"first.{QUEUED}"),
        _first.c.model == sa.bindparam("model"),
        _first.c.key_id == _keys.c.id,
        _first.c.run_at <= _param("now", "run_at"),
        _first.c.speech_at.is_(None),
        _before_deadline(_first),
    )
    .order_by(_first.c.priority, _first.c.run_at, _first.c.id)
    .limit(1)
    .correlate(_keys)
    .scalar_subquery()
)
_CANDIDATES = (
    sa.select(
        job_table.c.priority, _keys.c.served, job_table.c.run_at, job_table.c.id, job_table.c.key_id
    )
    .select_from(_keys)
    .join(job_table, job_table.c.id == _FIRST_OF_KEY)
    .where(
        _keys.c.queued > 0,
        _keys.c.active < sa.bindparam("limit", type_=sa.BigInteger),
        sa.not_(sa.exists().where(paused_table.c.model == sa.bindparam("model"))),
    )
)
_TAKE_FIRST = (
    sa.select(job_table)
    .where(
        _QUEUED,
        job_table.c.model == sa.bindparam("model"),
        job_table.c.key_id == _param("owner", "key_id"),
        job_table.c.priority == sa.bindparam("priority"),
        job_table.c.run_at <= _param("now", "run_at"),
        job_table.c.speech_at.is_(None),
        _before_deadline(job_table),
    )
    .order_by(job_table.c.run_at, job_table.c.id)
    .limit(1)
    .with_for_update(skip_locked=True)
)


def with_expired_lease(tx: Transaction, now: datetime, max_lease: timedelta) -> list[Job]:
    """List jobs whose worker has been silent for longer than its lease.

    A lease that seems longer than `max_lease` dates from before the clock was set back, with no
    heartbeat since.
    """
    lease_until = job_table.c.lease_until
    return _all(tx, _ACTIVE_NOW, sa.or_(lease_until < now, lease_until > now + max_lease))


def scheduled_after(tx: Transaction, after: datetime) -> list[Job]:
    """List queued jobs that may not start before that moment."""
    return _all(tx, _QUEUED, job_table.c.run_at > after)


def overdue(tx: Transaction, now: datetime) -> list[Job]:
    """List jobs that have run for longer than their timeout."""
    return _all(
        tx, _ACTIVE_NOW, job_table.c.state == JobState.RUNNING, job_table.c.run_deadline_at < now
    )


def ignoring_cancel(tx: Transaction, requested_before: datetime) -> list[Job]:
    """List running jobs whose cancellation was requested before that moment."""
    return _all(
        tx,
        _ACTIVE_NOW,
        job_table.c.state == JobState.RUNNING,
        job_table.c.cancel_requested_at < requested_before,
    )


def never_started(tx: Transaction, now: datetime) -> list[Job]:
    """List queued jobs past their start deadline, but for those of a paused model."""
    return _all(
        tx,
        _QUEUED,
        job_table.c.start_deadline_at.is_not(None),
        job_table.c.start_deadline_at < now,
        job_table.c.model.not_in(sa.select(paused_table.c.model)),
    )


def unfinished_models(tx: Transaction) -> set[str]:
    """Return the models of all queued or active jobs."""
    queries = [
        sa.select(job_table.c.model).where(state).distinct() for state in (_QUEUED, _ACTIVE_NOW)
    ]
    return set(tx.execute(sa.union(*queries)).scalars())


def queued_for(tx: Transaction, models: set[str], *, size: int) -> list[Job]:
    """List queued jobs of these models, but for those that are paused."""
    name = job_table.c.model
    is_paused = name.in_(sa.select(paused_table.c.model))
    return _all(tx, _QUEUED, name.in_(sorted(models)), sa.not_(is_paused), size=size)


def to_purge(tx: Transaction, now: datetime, *, size: int) -> list[Job]:
    """List final jobs whose next purge is due, the longest due first."""
    statement = (
        sa.select(job_table)
        .where(job_table.c.purge_at.is_not(None), job_table.c.purge_at <= now)
        .order_by(job_table.c.purge_at)
        .limit(size)
    )
    return [to_job(row) for row in tx.execute(statement).mappings()]


def schedule_purge(tx: Transaction, job: Job, at: datetime, *, inputs_deleted: bool) -> None:
    changes: dict[str, Any] = {"purge_at": at} | ({"input_bytes": 0} if inputs_deleted else {})
    tx.execute(sa.update(job_table).where(job_table.c.id == job.id).values(changes))


def input_bytes(tx: Transaction, key_id: KeyId) -> int:
    """Sum the bytes stored as inputs of this key's jobs."""
    return int(tx.execute(_INPUT_BYTES, {"owner": key_id}).scalar_one())


_INPUT_BYTES = sa.select(sa.func.coalesce(sa.func.sum(job_table.c.input_bytes), 0)).where(
    sa.text(INPUTS_KEPT), job_table.c.key_id == _param("owner", "key_id")
)


def existing_ids(tx: Transaction, ids: list[str]) -> set[str]:
    """Return those of `ids` that are jobs."""
    return set(tx.execute(sa.select(job_table.c.id).where(job_table.c.id.in_(ids))).scalars())


def delete(tx: Transaction, job: Job) -> None:
    deliveries.delete_settled_of_job(tx, job.id)
    events.erase_job(tx, job.id)
    labels.delete(tx, job)
    result = tx.execute(sa.delete(job_table).where(job_table.c.id == job.id))
    if result.rowcount and job.state.final:
        tx.before_commit.append(partial(hours.remove, tx, job))
    tx.notify(topics.of_job(job.id))


def _all(
    tx: Transaction, *conditions: sa.ColumnElement[bool] | sa.TextClause, size: int = 500
) -> list[Job]:
    in_order = job_table.c.id.concat("")  # of the id itself, SQLite would read all jobs in order
    statement = sa.select(job_table).where(*conditions).order_by(in_order).limit(size)
    return [to_job(row) for row in tx.execute(statement).mappings()]


def paused_models(tx: Transaction) -> dict[str, datetime]:
    """Return since when each paused model is paused."""
    return {row.model: row.paused_at for row in tx.execute(_PAUSED)}


_PAUSED = sa.select(paused_table)


def insert_pause(tx: Transaction, model: str, now: datetime) -> bool:
    """Insert a pause; False if the model is paused already."""
    insert = sqlite.insert if tx.connection.dialect.name == "sqlite" else postgresql.insert
    new = insert(paused_table).values(model=model, paused_at=now).on_conflict_do_nothing()
    if tx.execute(new.returning(paused_table.c.model)).first() is None:
        return False
    tx.notify(topics.of_queue(model))
    return True


def delete_pause(tx: Transaction, model: str) -> datetime | None:
    """Delete the pause and return since when it was. None, also if another transaction deletes it
    at the same time: then that one sees the pause."""
    columns = paused_table.c
    statement = sa.delete(paused_table).where(columns.model == model).returning(columns.paused_at)
    paused_at: datetime | None = tx.execute(statement).scalar()
    if paused_at is not None:
        tx.notify(topics.of_queue(model))
    return paused_at


_warm: sa.Table = WarmModelRow.__table__  # type: ignore[attr-defined]


def warm_containers(tx: Transaction) -> dict[str, int]:
    """Return how many containers of each model an admin keeps warm."""
    return {row.model: row.containers for row in tx.execute(_WARM)}


_WARM = sa.select(_warm)


def set_warm_containers(tx: Transaction, model: str, containers: int) -> None:
    tx.execute(sa.delete(_warm).where(_warm.c.model == model))
    tx.execute(sa.insert(_warm), {"model": model, "containers": containers})


def extend_start_deadlines(tx: Transaction, model: str, paused_at: datetime, now: datetime) -> None:
    """Give the queued jobs of a model as much longer to start as they have waited since then."""
    columns = job_table.c
    run_at, paused, end = _as_micros(columns.run_at), micros(paused_at), micros(now)
    waited_from = sa.case((run_at > paused, run_at), else_=paused)
    waited = sa.case((waited_from < end, end - waited_from), else_=0)
    tx.execute(
        sa.update(job_table)
        .where(sa.text(QUEUED), columns.model == model, columns.start_deadline_at.is_not(None))
        .values(start_deadline_at=_as_micros(columns.start_deadline_at) + waited)
    )


def _as_micros(instant: sa.ColumnElement[datetime]) -> sa.ColumnElement[int]:
    return sa.type_coerce(instant, sa.BigInteger)
