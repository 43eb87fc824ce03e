"""The number of jobs that ended within each hour, by model, state and error."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hours",
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("error_code", sa.String(64), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("user_failures", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "model", "state", "error_code", name=op.f("pk_hours")),
        sqlite_with_rowid=False,
    )
    # An hour in microseconds, as moments are stored.
    op.execute(
        "INSERT INTO hours (hour, model, state, error_code, jobs, user_failures)"
        " SELECT finished_at / 3600000000 * 3600000000, model, state, coalesce(error_code, ''),"
        " count(*), count(CASE WHEN error_kind = 'user' THEN 1 END)"
        " FROM jobs WHERE finished_at IS NOT NULL GROUP BY 1, 2, 3, 4"
    )
