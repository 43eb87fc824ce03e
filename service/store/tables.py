"""The tables. Invariants of rows are CHECKs and indexes here, not only rules of the code.

Only plain columns are indexed: alembic leaves expression indexes out of a SQLite migration.
"""

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from service.domain.attempt import FailureKind, Profile, Stage
from service.domain.event import DeliveryState
from service.domain.job import ACTIVE, FINAL, OWN_API, JobState
from service.domain.key import KeyRole
from service.store.columns import Id, Instant, Json, str_enum

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def _in(states: frozenset[JobState]) -> str:
    return "state IN (" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"


# Literally the same in indexes and queries: SQLite uses a partial index only where a query repeats
# its condition, which a bound parameter hides.
QUEUED = "state = 'queued'"
ACTIVE_STATES = _in(ACTIVE)
PENDING = "state = 'pending'"
INPUTS_KEPT = "input_bytes > 0"
# True of every job: lists of all keys' jobs have indexes that no other query takes for better ones.
OF_ALL = "key_id <> ''"
UNSPOKEN = f"{QUEUED} AND speech_at IS NOT NULL"


def partial(name: str, *columns: str, where: str, unique: bool = False) -> sa.Index:
    condition = sa.text(where)
    return sa.Index(
        name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition
    )


class KeyRow(SQLModel, table=True):
    """An API key, stored as a hash."""

    __tablename__ = "keys"

    id: str = Field(sa_type=Id, primary_key=True)
    name: str = Field(max_length=120)
    prefix: str = Field(max_length=16, unique=True)
    secret_hash: bytes = Field(sa_type=sa.LargeBinary(32))
    role: KeyRole = Field(
        sa_type=str_enum(KeyRole, "role"), sa_column_kwargs={"server_default": "user"}
    )
    queued: int = 0  # number of queued jobs: stored, because every submit reads it
    active: int = 0  # number starting or running: stored, because every claim reads it
    served: int = Field(default=0, sa_type=sa.BigInteger)  # its last turn; higher: later
    # Millionths of a dollar. Stored here as well as in the ledger, so that one UPDATE of one row
    # decides whether a job is within the budget.
    budget_microusd: int | None = Field(default=None, sa_type=sa.BigInteger)
    spent_microusd: int = Field(default=0, sa_type=sa.BigInteger)  # in `spent_month`
    spent_month: int = 0  # of price.month_of
    reserved_microusd: int = Field(default=0, sa_type=sa.BigInteger)  # estimates of open jobs
    created_at: datetime = Field(sa_type=Instant)
    revoked_at: datetime | None = Field(default=None, sa_type=Instant)
    # Signs deliveries to the `webhook_url` of its jobs; created on first use.
    secret: bytes | None = Field(default=None, sa_type=sa.LargeBinary)
    old_secret: bytes | None = Field(default=None, sa_type=sa.LargeBinary)
    old_secret_until: datetime | None = Field(default=None, sa_type=Instant)

    __table_args__ = (
        sa.CheckConstraint("queued >= 0", name="queued_range"),
        sa.CheckConstraint("active >= 0", name="active_range"),
        sa.CheckConstraint("budget_microusd >= 0", name="budget_range"),
        sa.CheckConstraint("reserved_microusd >= 0", name="reserved_range"),
    )


class JobRow(SQLModel, table=True):
    """A job: one requested video."""

    __tablename__ = "jobs"

    id: str = Field(sa_type=Id, primary_key=True)
    key_id: str = Field(sa_type=Id, foreign_key="keys.id")
    state: JobState = Field(sa_type=str_enum(JobState, "state"))
    priority: int = 1  # 0 is first
    kind: str = Field(default="video", max_length=16, sa_column_kwargs={"server_default": "video"})
    model: str = Field(max_length=64)
    request: dict[str, Any] = Field(sa_type=Json)
    profile: Profile = Field(default=Profile.FULL, sa_type=str_enum(Profile, "profile"))
    fallbacks: list[dict[str, Any]] | None = Field(default=None, sa_type=Json)
    fell_back: list[dict[str, Any]] | None = Field(default=None, sa_type=Json)
    user_metadata: dict[str, Any] = Field(sa_type=Json)
    # Of its stored inputs, under `inputs/`; 0 once they are deleted.
    input_bytes: int = Field(
        default=0, sa_type=sa.BigInteger, sa_column_kwargs={"server_default": "0"}
    )

    stage: Stage | None = Field(default=None, sa_type=str_enum(Stage, "stage"))
    stage_detail: str | None = Field(default=None, max_length=200)
    progress: float = 0.0
    attempt_progress: float = Field(default=0.0, sa_column_kwargs={"server_default": "0"})
    attempt: int = 0
    max_attempts: int = 3
    fence: int = Field(default=0, sa_type=sa.BigInteger)
    lease_until: datetime | None = Field(default=None, sa_type=Instant)
    cancel_requested_at: datetime | None = Field(default=None, sa_type=Instant)

    created_at: datetime = Field(sa_type=Instant)
    run_at: datetime = Field(sa_type=Instant)
    # When its text is to be spoken, before which no worker gets it: the time of the next try, or
    # when the present one counts as lost. NULL: there is nothing to speak, or no more.
    speech_at: datetime | None = Field(default=None, sa_type=Instant)
    speech_tries: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    start_timeout_seconds: int | None = None
    start_deadline_at: datetime | None = Field(default=None, sa_type=Instant)
    timeout_seconds: int
    run_deadline_at: datetime | None = Field(default=None, sa_type=Instant)
    started_at: datetime | None = Field(default=None, sa_type=Instant)
    finished_at: datetime | None = Field(default=None, sa_type=Instant)
    expires_at: datetime | None = Field(default=None, sa_type=Instant)
    purge_at: datetime | None = Field(default=None, sa_type=Instant)

    result: dict[str, Any] | None = Field(default=None, sa_type=Json)
    timings_ms: dict[str, Any] | None = Field(default=None, sa_type=Json)
    speech: dict[str, Any] | None = Field(default=None, sa_type=Json)
    gpu: str | None = Field(default=None, max_length=64)
    gpu_ms: int = Field(default=0, sa_type=sa.BigInteger)
    estimated_microusd: int = Field(default=0, sa_type=sa.BigInteger)
    actual_microusd: int | None = Field(default=None, sa_type=sa.BigInteger)
    rate_source: str | None = Field(default=None, max_length=120)
    rate_gpu: str | None = Field(default=None, max_length=64)
    usd_per_second: float | None = None
    error_kind: FailureKind | None = Field(
        default=None, sa_type=str_enum(FailureKind, "error_kind")
    )
    error_code: str | None = Field(default=None, max_length=64)
    error_message: str | None = Field(default=None, max_length=2000)

    webhook_url: str | None = Field(default=None, max_length=2048)
    webhook_events: list[str] | None = Field(default=None, sa_type=Json)
    api: str = Field(default=OWN_API, max_length=40, sa_column_kwargs={"server_default": OWN_API})
    api_url: str | None = Field(default=None, max_length=300)
    expected_ms: int = Field(default=0, sa_type=sa.BigInteger)
    folder_salt: str | None = Field(default=None, max_length=16)
    retry_of: str | None = Field(
        default=None, sa_type=Id, foreign_key="jobs.id", ondelete="SET NULL"
    )
    traceparent: str | None = Field(default=None, max_length=55)

    __table_args__ = (
        sa.CheckConstraint(
            f"(finished_at IS NOT NULL) = ({_in(FINAL)})", name="finished_iff_final"
        ),
        sa.CheckConstraint(f"(lease_until IS NOT NULL) = ({_in(ACTIVE)})", name="lease_iff_active"),
        sa.CheckConstraint("progress >= 0 AND progress <= 1", name="progress_range"),
        sa.CheckConstraint(
            "attempt >= 0 AND attempt <= max_attempts AND fence >= attempt", name="attempt_range"
        ),
        sa.CheckConstraint("state <> 'succeeded' OR result IS NOT NULL", name="success_has_result"),
        sa.CheckConstraint("state <> 'failed' OR error_kind IS NOT NULL", name="failure_has_kind"),
        # The last columns let SQLite check its conditions without the row.
        partial(
            "ix_jobs_claim",
            *("model", "key_id", "priority", "run_at", "id", "state", "start_deadline_at"),
            "speech_at",
            where=QUEUED,
        ),
        partial("ix_jobs_unspoken", "priority", "speech_at", "key_id", "id", where=UNSPOKEN),
        partial("ix_jobs_lease", "lease_until", where=ACTIVE_STATES),
        partial("ix_jobs_active_by_key", "key_id", where=ACTIVE_STATES),
        partial(
            "ix_jobs_start_deadline", "start_deadline_at", where="start_deadline_at IS NOT NULL"
        ),
        partial("ix_jobs_purge", "purge_at", where="purge_at IS NOT NULL"),
        partial("ix_jobs_retry_of", "retry_of", where="retry_of IS NOT NULL"),
        partial("ix_jobs_inputs", "key_id", "input_bytes", where=INPUTS_KEPT),
        # Of lists: of one key, and of all.
        sa.Index("ix_jobs_owner", "key_id", "id"),
        sa.Index("ix_jobs_state", "key_id", "state", "id"),
        partial("ix_jobs_state_of_all", "state", "id", where=OF_ALL),
        sa.Index("ix_jobs_model", "key_id", "model", "id"),
        partial("ix_jobs_model_of_all", "model", "id", where=OF_ALL),
        sa.Index("ix_jobs_kind", "key_id", "kind", "id"),
        partial("ix_jobs_kind_of_all", "kind", "id", where=OF_ALL),
        partial("ix_jobs_error", "key_id", "error_code", "id", where="error_code IS NOT NULL"),
        partial("ix_jobs_error_of_all", "error_code", "id", where="error_code IS NOT NULL"),
        partial("ix_jobs_end", "key_id", "finished_at", "id", where="finished_at IS NOT NULL"),
        partial("ix_jobs_end_of_all", "finished_at", "id", where="finished_at IS NOT NULL"),
    )


class LabelRow(SQLModel, table=True):
    """One label of a job's metadata, indexed for lists.

    Inserted and deleted with its job; without a foreign key, which would need an index of its own.
    """

    __tablename__ = "labels"

    key_id: str = Field(sa_type=Id, primary_key=True)
    name: str = Field(max_length=64, primary_key=True)
    text: str = Field(max_length=500, primary_key=True)
    job_id: str = Field(sa_type=Id, primary_key=True)

    __table_args__ = (
        sa.Index("ix_labels_of_all", "name", "text", "job_id"),
        {"sqlite_with_rowid": False},
    )


class AttemptRow(SQLModel, table=True):
    """One numbered attempt. A unique index forbids two open ones for a job."""

    __tablename__ = "attempts"

    job_id: str = Field(sa_type=Id, primary_key=True, foreign_key="jobs.id", ondelete="CASCADE")
    number: int = Field(primary_key=True)
    model: str | None = Field(default=None, max_length=64)  # None: that of its job
    fence: int = Field(sa_type=sa.BigInteger)
    token_hash: bytes = Field(sa_type=sa.LargeBinary(32))
    worker: str = Field(max_length=80)
    call_id: str | None = Field(default=None, max_length=120)
    restarts: int = 0
    created_at: datetime = Field(sa_type=Instant)
    started_at: datetime | None = Field(default=None, sa_type=Instant)
    heartbeat_at: datetime | None = Field(default=None, sa_type=Instant)
    ended_at: datetime | None = Field(default=None, sa_type=Instant)
    outcome: str | None = Field(default=None, max_length=16)
    error_kind: FailureKind | None = Field(
        default=None, sa_type=str_enum(FailureKind, "error_kind")
    )
    error_detail: str | None = Field(default=None, max_length=2000)
    gpu_ms: int = Field(default=0, sa_type=sa.BigInteger)
    cost_microusd: int = Field(default=0, sa_type=sa.BigInteger)

    __table_args__ = (
        sa.CheckConstraint(
            "(outcome IS NOT NULL) = (ended_at IS NOT NULL)", name="outcome_iff_ended"
        ),
        partial("uq_attempts_open", "job_id", where="ended_at IS NULL", unique=True),
        partial("uq_attempts_call", "call_id", where="call_id IS NOT NULL", unique=True),
    )


class LedgerRow(SQLModel, table=True):
    """Sums per key, day, model and GPU; a job counts on the day it ends.

    Never purged, so that sums outlast the jobs.
    """

    __tablename__ = "ledger"

    key_id: str = Field(sa_type=Id, primary_key=True, foreign_key="keys.id")
    day: date = Field(primary_key=True)
    model: str = Field(max_length=64, primary_key=True)
    gpu: str = Field(max_length=64, primary_key=True)  # empty: none, or unknown
    jobs: int = Field(sa_type=sa.BigInteger)
    gpu_ms: int = Field(sa_type=sa.BigInteger)
    microusd: int = Field(sa_type=sa.BigInteger)

    __table_args__ = (sa.Index("ix_ledger_day", "day"),)


class TotalRow(SQLModel, table=True):
    """One sum of /metrics. Never purged or reset, so that sums outlast jobs and restarts."""

    __tablename__ = "totals"

    name: str = Field(max_length=64, primary_key=True)
    labels: str = Field(max_length=300, primary_key=True)  # a JSON list of their values
    value: int = Field(sa_type=sa.BigInteger)


class IdempotencyRow(SQLModel, table=True):
    """A caller's Idempotency-Key and the job it created, inserted in that job's transaction."""

    __tablename__ = "idempotency"

    key_id: str = Field(sa_type=Id, primary_key=True, foreign_key="keys.id")
    name: str = Field(primary_key=True, max_length=255)
    fingerprint: bytes = Field(sa_type=sa.LargeBinary(32))
    job_id: str = Field(sa_type=Id, foreign_key="jobs.id", ondelete="CASCADE", index=True)
    accepted: dict[str, Any] = Field(sa_type=Json)
    expires_at: datetime = Field(sa_type=Instant, index=True)


class EndpointRow(SQLModel, table=True):
    """A URL that a customer registered for events."""

    __tablename__ = "endpoints"

    id: str = Field(sa_type=Id, primary_key=True)
    key_id: str = Field(sa_type=Id, foreign_key="keys.id", index=True)
    url: str = Field(max_length=2048)
    events: list[str] = Field(sa_type=Json)
    secret: bytes = Field(sa_type=sa.LargeBinary)
    old_secret: bytes | None = Field(default=None, sa_type=sa.LargeBinary)
    old_secret_until: datetime | None = Field(default=None, sa_type=Instant)
    created_at: datetime = Field(sa_type=Instant)
    failing_since: datetime | None = Field(default=None, sa_type=Instant)
    disabled_at: datetime | None = Field(default=None, sa_type=Instant)
    disabled_reason: str | None = Field(default=None, max_length=200)


class EventRow(SQLModel, table=True):
    """An event of a job, or of a key, with the job as it was then.

    Ids are never used twice, and rise in the order of commits. An event outlives its job, without
    the snapshot; so there is no foreign key, which would need an index of its own.
    """

    __tablename__ = "events"

    id: int = Field(
        sa_type=sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        primary_key=True,
    )
    key_id: str = Field(sa_type=Id, foreign_key="keys.id")
    job_id: str | None = Field(default=None, sa_type=Id)
    kind: str = Field(max_length=40)
    snapshot: dict[str, Any] | None = Field(default=None, sa_type=Json)
    created_at: datetime = Field(sa_type=Instant)

    __table_args__ = (
        sa.Index("ix_events_owner", "key_id", "id"),
        sa.Index("ix_events_job", "job_id", "id"),
        sa.Index("ix_events_age", "created_at"),
        {"sqlite_autoincrement": True},
    )


class DeliveryRow(SQLModel, table=True):
    """One delivery of an event to a URL; its id is the `webhook-id`, the same on every try."""

    __tablename__ = "deliveries"

    id: str = Field(sa_type=Id, primary_key=True)
    key_id: str = Field(sa_type=Id, foreign_key="keys.id")
    job_id: str | None = Field(default=None, sa_type=Id, foreign_key="jobs.id", ondelete="SET NULL")
    endpoint_id: str | None = Field(
        default=None, sa_type=Id, foreign_key="endpoints.id", ondelete="CASCADE"
    )
    event: str = Field(max_length=40)
    url: str = Field(max_length=2048)
    host: str = Field(max_length=300)  # of the URL: concurrent tries are limited by it
    event_id: int | None = Field(
        default=None,
        sa_type=sa.BigInteger,
        foreign_key="events.id",
        ondelete="SET NULL",
    )
    body: bytes | None = Field(default=None, sa_type=sa.LargeBinary)  # as sent, from the first try
    state: DeliveryState = Field(sa_type=str_enum(DeliveryState, "state"))
    attempt: int = 0
    fence: int = Field(default=0, sa_type=sa.BigInteger)
    next_at: datetime | None = Field(default=None, sa_type=Instant)
    lease_until: datetime | None = Field(default=None, sa_type=Instant)
    tries: list[dict[str, Any]] = Field(sa_type=Json)
    created_at: datetime = Field(sa_type=Instant)
    delivered_at: datetime | None = Field(default=None, sa_type=Instant)

    __table_args__ = (
        sa.CheckConstraint("(next_at IS NOT NULL) = (state = 'pending')", name="next_iff_pending"),
        sa.UniqueConstraint("event_id", "url"),
        partial("ix_deliveries_due", "next_at", where=PENDING),
        sa.Index("ix_deliveries_owner", "key_id", "id"),
        sa.Index("ix_deliveries_age", "created_at"),
    )


class LeaseRow(SQLModel, table=True):
    """A named lease: its holder and when it expires."""

    __tablename__ = "turns"

    name: str = Field(max_length=40, primary_key=True)
    holder: str = Field(max_length=80)
    until: datetime = Field(sa_type=Instant)


class TimelineRow(SQLModel, table=True):
    """The service's time when a leader last wrote it; one row."""

    __tablename__ = "timeline"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    seen_at: datetime = Field(sa_type=Instant)
    doubts: str = Field(sa_type=sa.Text)  # JSON: microseconds, and when each doubt ends

    __table_args__ = (sa.CheckConstraint("id = 1", name="one_row"),)
