"""Roles of keys, and what the admin pages keep."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ID = sa.String(30).with_variant(sa.String(30, collation="C"), "postgresql")


def upgrade() -> None:
    _give_keys_roles()
    _make_sessions()
    _make_pauses_and_audit()
    _make_bulk_actions()


def _give_keys_roles() -> None:
    roles = sa.Enum("user", "viewer", "admin", name="role", native_enum=False, length=16)
    op.add_column("keys", sa.Column("role", roles, server_default="user", nullable=False))
    keys = sa.table("keys", sa.column("role"), sa.column("admin", sa.Boolean()))
    op.execute(sa.update(keys).where(keys.c.admin).values(role="admin"))
    with op.batch_alter_table("keys") as batch:
        batch.create_check_constraint(op.f("ck_keys_role"), "role IN ('user', 'viewer', 'admin')")
        batch.drop_column("admin")


def _make_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_sessions_key_id_keys")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_sessions")),
    )
    op.create_index("ix_sessions_key_id", "sessions", ["key_id"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])


def _make_pauses_and_audit() -> None:
    op.create_table(
        "paused_models",
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("paused_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_paused_models")),
    )
    op.create_table(
        "audit",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("act", sa.String(32), nullable=False),
        sa.Column("target", sa.String(120), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("detail", sa.String(500), nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_audit_key_id_keys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )


def _make_bulk_actions() -> None:
    states = sa.Enum("running", "stopped", "done", name="state", native_enum=False, length=16)
    op.create_table(
        "bulk_actions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("act", sa.String(16), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("state", states, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('running', 'stopped', 'done')", name=op.f("ck_bulk_actions_state")
        ),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_bulk_actions_key_id_keys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_actions")),
    )
    op.create_table(
        "bulk_items",
        sa.Column("bulk_id", _ID, nullable=False),
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("is_changed", sa.Boolean(), nullable=True),
        sa.Column("outcome", sa.String(300), nullable=True),
        sa.ForeignKeyConstraint(
            ["bulk_id"], ["bulk_actions.id"], name=op.f("fk_bulk_items_bulk_id_bulk_actions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("bulk_id", "job_id", name=op.f("pk_bulk_items")),
    )  # fmt: skip
    still_to_come = sa.text("is_changed IS NULL")
    op.create_index(
        "ix_bulk_items_open",
        "bulk_items",
        ["bulk_id", "job_id"],
        sqlite_where=still_to_come,
        postgresql_where=still_to_come,
    )
