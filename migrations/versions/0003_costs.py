"""What jobs cost: rates, a ledger, budgets."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.String(length=30).with_variant(sa.String(length=30, collation="C"), "postgresql")
_OPEN = "state IN ('queued', 'running', 'starting')"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("rate_gpu", sa.String(length=64), nullable=True))
    op.add_column("jobs", sa.Column("usd_per_second", sa.Float(), nullable=True))
    _keys()
    _ledger()


def _keys() -> None:
    with op.batch_alter_table("keys") as batch_op:
        batch_op.add_column(sa.Column("budget_microusd", sa.BigInteger(), nullable=True))
        batch_op.add_column(
            sa.Column("spent_microusd", sa.BigInteger(), nullable=False, server_default="0")
        )
        batch_op.add_column(
            sa.Column("spent_month", sa.Integer(), nullable=False, server_default="0")
        )
        batch_op.add_column(
            sa.Column("reserved_microusd", sa.BigInteger(), nullable=False, server_default="0")
        )
        batch_op.create_check_constraint(op.f("ck_keys_budget_range"), "budget_microusd >= 0")
        batch_op.create_check_constraint(op.f("ck_keys_reserved_range"), "reserved_microusd >= 0")
    # What is open gives back at its end what it has reserved.
    op.execute(
        "UPDATE keys SET reserved_microusd = (SELECT coalesce(sum(estimated_microusd), 0) FROM jobs"  # noqa: S608
        f" WHERE jobs.key_id = keys.id AND {_OPEN})"
    )


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("gpu", sa.String(length=64), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("gpu_ms", sa.BigInteger(), nullable=False),
        sa.Column("microusd", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_ledger_key_id_keys")),
        sa.PrimaryKeyConstraint("key_id", "day", "model", "gpu", name=op.f("pk_ledger")),
    )
    op.create_index("ix_ledger_day", "ledger", ["day"])
    # Until now a job was charged at its end. The rest of what has been purged is not known.
    days = {
        "sqlite": "date(finished_at / 1000000, 'unixepoch')",
        "postgresql": "(to_timestamp(finished_at / 1000000) AT TIME ZONE 'UTC')::date",
    }
    day = days[op.get_bind().dialect.name]
    op.execute(
        "INSERT INTO ledger (key_id, day, model, gpu, jobs, gpu_ms, microusd)"  # noqa: S608
        f" SELECT key_id, {day}, model, coalesce(gpu, ''), count(*), sum(gpu_ms),"
        " sum(coalesce(actual_microusd, 0)) FROM jobs WHERE finished_at IS NOT NULL"
        f" GROUP BY key_id, {day}, model, coalesce(gpu, '')"
    )
