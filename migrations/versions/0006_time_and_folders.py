"""The service's time as it was last seen; a random part in the name of an attempt's folder."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


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
