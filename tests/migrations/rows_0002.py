"""Rows as the release of revision 0002 wrote them, in plain SQL: its code is gone."""

import sqlalchemy as sa

from service.store.engine import make_engine
from tests.migrations import rows_0001
from tests.migrations.rows_0001 import Written

# The columns of 0001 were written as before; these are what 0002 brought, and what it filled.
_SINCE = (
    "UPDATE keys SET active = 1, served = 4",
    "UPDATE jobs SET expected_ms = 1000, estimated_microusd = 700, rate_source = 'a list'",
    "UPDATE jobs SET gpu = 'NVIDIA L40S', gpu_ms = 2500, actual_microusd = 800"
    " WHERE state = 'succeeded'",
)


def write_rows(url: str) -> Written:
    """A key, a job in each kind of state with its attempts, and an Idempotency-Key."""
    written = rows_0001.write_rows(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        for statement in _SINCE:
            connection.execute(sa.text(statement))
    engine.dispose()
    return written
