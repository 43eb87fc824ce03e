"""Rows as the release of revision 0005 wrote them, in plain SQL: its code is gone."""

import sqlalchemy as sa

from service.store.engine import make_engine
from tests.migrations import rows_0004
from tests.migrations.rows_0001 import Written

# The columns of 0004 were written as before; this is what 0005 brought, and what it filled.
_SINCE = "UPDATE jobs SET attempt_progress = 0.4 WHERE state = 'running'"


def write_rows(url: str) -> Written:
    """A key, a job in each kind of state with its attempts, and an Idempotency-Key."""
    written = rows_0004.write_rows(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(_SINCE))
    engine.dispose()
    return written
