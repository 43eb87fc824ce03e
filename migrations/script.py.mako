"""${message}."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text  # noqa: F401 - alembic writes it unqualified inside JSONB
from sqlalchemy.dialects import postgresql  # noqa: F401

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
