"""Jobs that another model may take over, and the memory profile in which each is made."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True, astext_type=Text()), "postgresql"
)


def upgrade() -> None:
    # Said in SQL, because alembic would have SQLite copy the whole table for the CHECK.
    op.execute(
        "ALTER TABLE jobs ADD COLUMN profile VARCHAR(16) DEFAULT 'full' NOT NULL"
        " CONSTRAINT ck_jobs_profile CHECK (profile IN ('full', 'small'))"
    )
    op.add_column("jobs", sa.Column("fallbacks", _JSON, nullable=True))
    op.add_column("jobs", sa.Column("fell_back", _JSON, nullable=True))
    op.add_column("jobs", sa.Column("start_timeout_seconds", sa.Integer(), nullable=True))
    op.add_column("attempts", sa.Column("model", sa.String(length=64), nullable=True))
