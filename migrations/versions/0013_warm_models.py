"""How many containers of a model an admin keeps warm."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "warm_models",
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("containers", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_warm_models")),
    )
