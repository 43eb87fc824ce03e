"""Turns between keys, webhooks, retention."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.String(length=30).with_variant(sa.String(length=30, collation="C"), "postgresql")
_JSON = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True, astext_type=Text()), "postgresql"
)
_HOUR_IN_MICROSECONDS = 3_600_000_000


def upgrade() -> None:
    op.create_table(
        "turns",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("holder", sa.String(length=80), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_turns")),
    )
    _keys()
    _jobs()
    # Nothing has ever written these two, so that they are made anew.
    op.drop_table("deliveries")
    op.drop_table("endpoints")
    _endpoints()
    _deliveries()


def _keys() -> None:
    with op.batch_alter_table("keys") as batch_op:
        batch_op.add_column(sa.Column("active", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(
            sa.Column("served", sa.BigInteger(), nullable=False, server_default="0")
        )
        batch_op.add_column(sa.Column("secret", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("old_secret", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("old_secret_until", sa.BigInteger(), nullable=True))
        batch_op.create_check_constraint(op.f("ck_keys_active_range"), "active >= 0")
    op.execute(
        "UPDATE keys SET active = (SELECT count(*) FROM jobs"
        " WHERE jobs.key_id = keys.id AND jobs.state IN ('running', 'starting'))"
    )


def _jobs() -> None:
    op.add_column("jobs", sa.Column("webhook_events", _JSON, nullable=True))
    op.add_column("jobs", sa.Column("api_url", sa.String(length=300), nullable=True))
    op.add_column(
        "jobs", sa.Column("expected_ms", sa.BigInteger(), nullable=False, server_default="0")
    )
    queued = sa.text("state = 'queued'")
    op.drop_index("ix_jobs_claim", "jobs")
    op.create_index(
        "ix_jobs_claim",
        "jobs",
        ["model", "key_id", "priority", "run_at", "id", "state"],
        sqlite_where=queued,
        postgresql_where=queued,
    )
    retried = sa.text("retry_of IS NOT NULL")
    op.create_index(
        "ix_jobs_retry_of", "jobs", ["retry_of"], sqlite_where=retried, postgresql_where=retried
    )
    # What was final before is purged too; its time counts from its end.
    op.execute(
        f"UPDATE jobs SET purge_at = finished_at + {_HOUR_IN_MICROSECONDS}"  # noqa: S608
        " WHERE finished_at IS NOT NULL"
    )


def _endpoints() -> None:
    op.create_table(
        "endpoints",
        sa.Column("id", _ID, nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("url", sa.String(length=2048), nullable=False),
        sa.Column("events", _JSON, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("old_secret", sa.LargeBinary(), nullable=True),
        sa.Column("old_secret_until", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("disabled_reason", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_endpoints_key_id_keys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoints")),
    )
    op.create_index(op.f("ix_endpoints_key_id"), "endpoints", ["key_id"])


def _deliveries() -> None:
    states = ("pending", "delivered", "dead", "disabled")
    op.create_table(
        "deliveries",
        sa.Column("id", _ID, nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("job_id", _ID, nullable=True),
        sa.Column("endpoint_id", _ID, nullable=True),
        sa.Column("event", sa.String(length=40), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("url", sa.String(length=2048), nullable=False),
        sa.Column("host", sa.String(length=300), nullable=False),
        sa.Column("snapshot", _JSON, nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column(
            "state",
            sa.Enum(*states, name="state", native_enum=False, create_constraint=True, length=16),
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("tries", _JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(next_at IS NOT NULL) = (state = 'pending')",
            name=op.f("ck_deliveries_next_iff_pending"),
        ),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["endpoints.id"],
            name=op.f("fk_deliveries_endpoint_id_endpoints"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_deliveries_job_id_jobs"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_deliveries_key_id_keys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "job_id",
            "event",
            "sequence",
            "url",
            name=op.f("uq_deliveries_job_id_event_sequence_url"),
        ),
    )
    op.create_index(op.f("ix_deliveries_endpoint_id"), "deliveries", ["endpoint_id"])
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["next_at"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index("ix_deliveries_owner", "deliveries", ["key_id", "id"])
    op.create_index("ix_deliveries_age", "deliveries", ["created_at"])
