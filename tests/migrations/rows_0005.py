"""Rows as the release of revision 0005 wrote them, in plain SQL: its code is gone."""

from service.store.engine import make_engine
from tests.migrations import rows_0004
from tests.migrations.rows_0001 import Written

# The columns of 0004 were written as before; these are what 0005 brought, and labels for a list.
_SINCE = (
    "UPDATE jobs SET attempt_progress = 0.4 WHERE state = 'running'",
    """UPDATE jobs SET user_metadata = '{"scene": "12", "take": "ä \\" b"}'"""
    " WHERE state = 'queued'",
)


def write_rows(url: str) -> Written:
    """A key, a job in each kind of state with its attempts, and an Idempotency-Key."""
    written = rows_0004.write_rows(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        for statement in _SINCE:
            connection.exec_driver_sql(statement)
    engine.dispose()
    return written
