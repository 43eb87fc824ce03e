"""An index of all that the overview counts of ended jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    ended = sa.text("finished_at IS NOT NULL")
    op.create_index(
        "ix_jobs_ended",
        "jobs",
        ["state", "finished_at", "model", "error_code"],
        sqlite_where=ended,
        postgresql_where=ended,
    )
