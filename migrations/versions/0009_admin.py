"""Roles of keys, and what the admin pages keep."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ID = sa.String(30).with_variant(sa.String(30, collation="C"), "postgresql")


def upgrade() -> None:
    _give_keys_roles()
    _make_sessions()


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
