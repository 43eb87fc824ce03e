"""Rows as the release of revision 0002 wrote them, in plain SQL: its code is gone."""

import json

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


UNSENT, SENT, TEST = (f"msg_06h0cqct31vp78ap2nmi51uar{n}" for n in range(3))
_NOON = 1_795_435_200_000_000


def _delivery(id_: str, **values: object) -> dict[str, object]:
    return {
        "id": id_,
        "key_id": rows_0001.KEY,
        "job_id": rows_0001.JOBS["succeeded"],
        "event": "job.succeeded",
        "sequence": 0,
        "url": f"https://hooks.example.com/{id_}",
        "host": "hooks.example.com",
        "snapshot": None,
        "body": None,
        "state": "pending",
        "attempt": 0,
        "fence": 0,
        "next_at": _NOON,
        "tries": "[]",
        "created_at": _NOON,
        **values,
    }


# One that no try was made of, one that was sent, and a test that belongs to no job.
_DELIVERIES = (
    _delivery(UNSENT, snapshot=json.dumps(rows_0001.snapshot_of("succeeded"))),
    _delivery(SENT, body=b"{}", state="delivered", next_at=None, attempt=1),
    _delivery(TEST, job_id=None, event="webhook.test"),
)


def write_rows(url: str) -> Written:
    """A key, a job in each kind of state with its attempts, and an Idempotency-Key."""
    written = rows_0001.write_rows(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        for statement in _SINCE:
            connection.execute(sa.text(statement))
        for values in _DELIVERIES:
            columns, places = ", ".join(values), ", ".join(f":{name}" for name in values)
            connection.execute(
                sa.text(f"INSERT INTO deliveries ({columns}) VALUES ({places})"), values
            )
    engine.dispose()
    return written
