"""How far the running attempt is, beside the progress shown; claims that see start deadlines."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("attempt_progress", sa.Float(), server_default="0", nullable=False)
    )
    # A job that runs while it is upgraded is as far as was shown.
    op.execute("UPDATE jobs SET attempt_progress = progress WHERE state = 'running'")
    queued = sa.text("state = 'queued'")
    op.drop_index("ix_jobs_claim", "jobs")
    op.create_index(
        "ix_jobs_claim",
        "jobs",
        ["model", "key_id", "priority", "run_at", "id", "state", "start_deadline_at"],
        sqlite_where=queued,
        postgresql_where=queued,
    )
