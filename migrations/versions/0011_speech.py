"""Texts are spoken before a worker gets their jobs."""

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
