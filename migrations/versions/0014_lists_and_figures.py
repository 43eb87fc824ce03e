"""Indexes for every filter of a list of deliveries, for deletions of jobs, and for each model's
figures."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    of_all = sa.text("key_id <> ''")
    op.create_index("ix_deliveries_state", "deliveries", ["key_id", "state", "id"])
    op.create_index(
        "ix_deliveries_state_of_all",
        "deliveries",
        ["state", "id"],
        sqlite_where=of_all,
        postgresql_where=of_all,
    )
    op.create_index("ix_deliveries_job", "deliveries", ["job_id", "id"])
    op.create_index("ix_deliveries_endpoint", "deliveries", ["endpoint_id", "id"])
    op.drop_index("ix_deliveries_endpoint_id", "deliveries")
    ended = sa.text("finished_at IS NOT NULL")
    op.create_index(
        "ix_jobs_ended_of_model",
        "jobs",
        ["model", "state", "finished_at", "error_code"],
        sqlite_where=ended,
        postgresql_where=ended,
    )
