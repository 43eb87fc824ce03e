"""Texts are spoken before a worker gets their jobs; avatars and voices are kept."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True, astext_type=Text()), "postgresql"
)
_ID = sa.String(30).with_variant(sa.String(30, collation="C"), "postgresql")
_QUEUED = "state = 'queued'"
_CLAIM = ("model", "key_id", "priority", "run_at", "id", "state", "start_deadline_at", "speech_at")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("speech_at", sa.BigInteger(), nullable=True))
    op.add_column(
        "jobs", sa.Column("speech_tries", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column("jobs", sa.Column("speech", _JSON, nullable=True))
    op.drop_index("ix_jobs_claim", "jobs")
    _make_index("ix_jobs_claim", _CLAIM, _QUEUED)
    _make_index(
        "ix_jobs_unspoken",
        ("priority", "speech_at", "key_id", "id"),
        f"{_QUEUED} AND speech_at IS NOT NULL",
    )
    # Texts of open jobs, which the workers of the release before would have spoken.
    op.execute(_UNSPOKEN[op.get_bind().dialect.name])
    _make_avatars()
    _make_voices()


def _make_avatars() -> None:
    op.create_table(
        "avatars",
        sa.Column("id", _ID, nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("image", _JSON, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("warnings", _JSON, nullable=False),
        sa.Column("voice", sa.String(100), nullable=True),
        sa.Column("consent", _JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_avatars_key_id_keys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_avatars")),
    )
    op.create_index("ix_avatars_owner", "avatars", ["key_id", "id"])
    _make_request_index("avatars")


def _make_voices() -> None:
    op.create_table(
        "voices",
        sa.Column("id", _ID, nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("language", sa.String(40), nullable=False),
        sa.Column("provider_id", sa.String(64), nullable=False),
        sa.Column("needs_verification", sa.Boolean(), nullable=False),
        sa.Column("consent", _JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_voices_key_id_keys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voices")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_voices_provider_id")),
    )
    op.create_index("ix_voices_owner", "voices", ["key_id", "id"])
    _make_request_index("voices")


def _make_request_index(table: str) -> None:
    condition = sa.text("idempotency_key IS NOT NULL")
    op.create_index(
        f"uq_{table}_request",
        table,
        ["key_id", "idempotency_key"],
        unique=True,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def _make_index(name: str, columns: tuple[str, ...], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "jobs", list(columns), sqlite_where=condition, postgresql_where=condition)


_UNSPOKEN = {
    "sqlite": "UPDATE jobs SET speech_at = run_at"
    " WHERE state IN ('queued', 'starting', 'running') AND kind = 'avatar'"
    " AND json_extract(request, '$.audio') IS NULL",
    "postgresql": "UPDATE jobs SET speech_at = run_at"
    " WHERE state IN ('queued', 'starting', 'running') AND kind = 'avatar'"
    " AND request ->> 'audio' IS NULL",
}
