"""The service's time as it was last seen, a random part in the name of an attempt's folder,
failures by a fault of the worker's machine, indexes for what lists filter by, and how many bytes of
inputs are kept of a job.

Inputs of jobs that are there already are not counted; they go with their jobs.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


_ID = sa.String(30).with_variant(sa.String(30, collation="C"), "postgresql")
_FILL = {
    "sqlite": "INSERT INTO labels (key_id, name, text, job_id) "
    "SELECT jobs.key_id, pair.key, pair.value, jobs.id"
    " FROM jobs, json_each(jobs.user_metadata) AS pair",
    "postgresql": "INSERT INTO labels (key_id, name, text, job_id) "
    "SELECT jobs.key_id, pair.key, pair.value, jobs.id"
    " FROM jobs, jsonb_each_text(jobs.user_metadata) AS pair",
}
_BEFORE = "'lost', 'internal')"
_AFTER = "'lost', 'internal', 'machine')"
_KINDS = "'user', 'transient', 'oom', 'timeout', 'canceled', " + _AFTER


def upgrade() -> None:
    op.create_table(
        "timeline",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("doubts", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_timeline_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timeline")),
    )
    # None in what is there: the bytes of an attempt that runs while it is upgraded stay found.
    op.add_column("jobs", sa.Column("folder_salt", sa.String(length=16), nullable=True))
    _take_in_faults_of_machines()
    _index_lists_and_count_inputs()


def _take_in_faults_of_machines() -> None:
    if op.get_context().dialect.name == "sqlite":
        _widen_in_place()
        return
    for table in ("jobs", "attempts"):
        op.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_error_kind,"
            f" ADD CONSTRAINT ck_{table}_error_kind CHECK (error_kind IN ({_KINDS})"
        )


def _widen_in_place() -> None:
    """Without a copy of both tables, by the way that SQLite's documentation of ALTER TABLE gives
    for a CHECK that no row on the disk can break."""
    connection = op.get_bind()
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = connection.execute(
        sa.text(
            "UPDATE sqlite_schema SET sql = replace(sql, :before, :after)"
            " WHERE type = 'table' AND name IN ('jobs', 'attempts') AND instr(sql, :before) > 0"
        ),
        {"before": _BEFORE, "after": _AFTER},
    )
    assert changed.rowcount == 2, "both tables name the kinds"
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")


def _index_lists_and_count_inputs() -> None:
    op.add_column(
        "jobs", sa.Column("input_bytes", sa.BigInteger(), server_default="0", nullable=False)
    )
    kept = sa.text("input_bytes > 0")
    op.create_index(
        "ix_jobs_inputs",
        "jobs",
        ["key_id", "input_bytes"],
        sqlite_where=kept,
        postgresql_where=kept,
    )
    op.create_index("ix_jobs_state", "jobs", ["key_id", "state", "id"])
    op.create_index("ix_jobs_model", "jobs", ["key_id", "model", "id"])
    op.create_table(
        "labels",
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("text", sa.String(500), nullable=False),
        sa.Column("job_id", _ID, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "name", "text", "job_id", name=op.f("pk_labels")),
        sqlite_with_rowid=False,
    )
    op.execute(_FILL[op.get_bind().dialect.name])
