"""The tables of the admin pages, under the rules of tables.py."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from service.domain.bulk import BulkState
from service.store.columns import Id, Instant, str_enum
from service.store.tables import OF_ALL, DeliveryRow, JobRow


class SessionRow(SQLModel, table=True):
    """A login to the admin pages. Its token is stored as a hash."""

    __tablename__ = "sessions"

    token_hash: bytes = Field(sa_type=sa.LargeBinary(32), primary_key=True)
    key_id: str = Field(sa_type=Id, foreign_key="keys.id", index=True)
    created_at: datetime = Field(sa_type=Instant)
    expires_at: datetime = Field(sa_type=Instant, index=True)


class PausedModelRow(SQLModel, table=True):
    """A model whose jobs wait until it is resumed."""

    __tablename__ = "paused_models"

    model: str = Field(max_length=64, primary_key=True)
    paused_at: datetime = Field(sa_type=Instant)


class WarmModelRow(SQLModel, table=True):
    """A model of which an admin keeps so many containers warm."""

    __tablename__ = "warm_models"

    model: str = Field(max_length=64, primary_key=True)
    containers: int


class AuditRow(SQLModel, table=True):
    """A change by an admin: who did what to what, and to how many. Never deleted."""

    __tablename__ = "audit"

    id: int = Field(
        sa_type=sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        primary_key=True,
    )
    at: datetime = Field(sa_type=Instant)
    key_id: str = Field(sa_type=Id, foreign_key="keys.id")
    act: str = Field(max_length=32)
    target: str = Field(max_length=120)
    number: int = Field(default=1)  # of what it changed
    detail: str | None = Field(default=None, max_length=500)

    __table_args__ = ({"sqlite_autoincrement": True},)


class BulkActionRow(SQLModel, table=True):
    """One act on all jobs that a filter selected when it was started."""

    __tablename__ = "bulk_actions"

    id: str = Field(sa_type=Id, primary_key=True)
    key_id: str = Field(sa_type=Id, foreign_key="keys.id")
    act: str = Field(max_length=16)
    query: str = Field(sa_type=sa.Text)  # of the URL of the list
    total: int
    state: BulkState = Field(sa_type=str_enum(BulkState, "state"))
    created_at: datetime = Field(sa_type=Instant)
    ended_at: datetime | None = Field(default=None, sa_type=Instant)


class BulkItemRow(SQLModel, table=True):
    """A job of a bulk action, and what was done to it. It outlives its job."""

    __tablename__ = "bulk_items"

    bulk_id: str = Field(
        sa_type=Id, primary_key=True, foreign_key="bulk_actions.id", ondelete="CASCADE"
    )
    job_id: str = Field(sa_type=Id, primary_key=True)
    is_changed: bool | None = None  # None: its turn is still to come
    outcome: str | None = Field(default=None, max_length=300)

    __table_args__ = (
        sa.Index(
            "ix_bulk_items_open",
            *("bulk_id", "job_id"),
            sqlite_where=sa.text("is_changed IS NULL"),
            postgresql_where=sa.text("is_changed IS NULL"),
        ),
    )


# All that the overview counts of ended jobs, so that it reads no row, and the same of one model.
_jobs: sa.Table = JobRow.__table__  # type: ignore[attr-defined]
_ENDED = sa.text("finished_at IS NOT NULL")
for _name, _columns in (
    ("ix_jobs_ended", ("state", "finished_at", "model", "error_code")),
    ("ix_jobs_ended_of_model", ("model", "state", "finished_at", "error_code")),
):
    sa.Index(
        _name,
        *(_jobs.c[column] for column in _columns),
        sqlite_where=_ENDED,
        postgresql_where=_ENDED,
    )

# Of lists, and the last two of foreign keys.
_deliveries: sa.Table = DeliveryRow.__table__  # type: ignore[attr-defined]
_OF_ALL = sa.text(OF_ALL)
sa.Index("ix_deliveries_state", *(_deliveries.c[name] for name in ("key_id", "state", "id")))
sa.Index(
    "ix_deliveries_state_of_all",
    *(_deliveries.c.state, _deliveries.c.id),
    sqlite_where=_OF_ALL,
    postgresql_where=_OF_ALL,
)
sa.Index("ix_deliveries_job", _deliveries.c.job_id, _deliveries.c.id)
sa.Index("ix_deliveries_endpoint", _deliveries.c.endpoint_id, _deliveries.c.id)
