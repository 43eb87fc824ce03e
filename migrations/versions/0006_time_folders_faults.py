"""The service's time as it was last seen, a random part in the name of an attempt's folder, and
failures by a fault of the worker's machine."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


_BEFORE = "'lost', 'internal')"
_AFTER = "'lost', 'internal', 'machine')"
_KINDS = "'user', 'transient', 'oom', 'timeout', 'canceled', " + _AFTER


def upgrade() -> None:
    op.create_table(
        "timeline",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("doubt_us", sa.BigInteger(), nullable=False),
        sa.Column("doubt_until", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_timeline_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timeline")),
    )
    # None in what is there: the bytes of an attempt that runs while it is upgraded stay found.
    op.add_column("jobs", sa.Column("folder_salt", sa.String(length=16), nullable=True))
    _take_in_faults_of_machines()


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
