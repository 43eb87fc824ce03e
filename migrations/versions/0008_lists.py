"""Indexes for every filter of a list of jobs, of one key and of all."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, columns, condition in _OF_JOBS:
        where = None if condition is None else sa.text(condition)
        op.create_index(name, "jobs", columns, sqlite_where=where, postgresql_where=where)
    op.create_index("ix_labels_of_all", "labels", ["name", "text", "job_id"])


_OF_JOBS = [
    ("ix_jobs_state_of_all", ["state", "id"], "key_id <> ''"),
    ("ix_jobs_model_of_all", ["model", "id"], "key_id <> ''"),
    ("ix_jobs_kind", ["key_id", "kind", "id"], None),
    ("ix_jobs_kind_of_all", ["kind", "id"], "key_id <> ''"),
    ("ix_jobs_error", ["key_id", "error_code", "id"], "error_code IS NOT NULL"),
    ("ix_jobs_error_of_all", ["error_code", "id"], "error_code IS NOT NULL"),
    ("ix_jobs_end", ["key_id", "finished_at", "id"], "finished_at IS NOT NULL"),
    ("ix_jobs_end_of_all", ["finished_at", "id"], "finished_at IS NOT NULL"),
]
