"""Rows as the release of revision 0004 wrote them, in plain SQL: its code is gone."""

import sqlalchemy as sa

from service.store.engine import make_engine
from tests.migrations import rows_0003
from tests.migrations.rows_0001 import Written

# The columns of 0003 were written as before; these are what 0004 brought, and what it filled.
_SINCE = (
    "UPDATE jobs SET progress = 0.5 WHERE state = 'running'",
    "UPDATE jobs SET start_timeout_seconds = 86400, start_deadline_at = run_at + 86400000000"
    " WHERE state = 'queued'",
    "UPDATE attempts SET model = 'slate'",
)


def write_rows(url: str) -> Written:
    """A key, a job in each kind of state with its attempts, and an Idempotency-Key."""
    written = rows_0003.write_rows(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        for statement in _SINCE:
            connection.execute(sa.text(statement))
    engine.dispose()
    return written
