"""Rows as the release of revision 0003 wrote them, in plain SQL: its code is gone."""

import sqlalchemy as sa

from service.store.engine import make_engine
from tests.migrations import rows_0002
from tests.migrations.rows_0001 import Written

# The columns of 0002 were written as before; these are what 0003 brought, and what it filled.
_SINCE = (
    "UPDATE keys SET budget_microusd = 5000000, reserved_microusd = 1400",
    "UPDATE jobs SET rate_gpu = 'L40S', usd_per_second = 0.000542",
    # The job that runs has lost a worker before: its attempt is the second.
    "UPDATE jobs SET attempt = 2, fence = 4 WHERE state = 'running'",
    "UPDATE attempts SET number = 2, fence = 4 WHERE call_id = 'call running'",
    "INSERT INTO attempts (job_id, number, fence, token_hash, worker, restarts, created_at,"
    " ended_at, outcome, error_kind, gpu_ms, cost_microusd)"
    " SELECT job_id, 1, 2, token_hash, worker, 0, created_at, created_at, 'failed', 'lost', 0, 0"
    " FROM attempts WHERE call_id = 'call running'",
)


def write_rows(url: str) -> Written:
    """A key, a job in each kind of state with its attempts, and an Idempotency-Key."""
    written = rows_0002.write_rows(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        for statement in _SINCE:
            connection.execute(sa.text(statement))
    engine.dispose()
    return written
