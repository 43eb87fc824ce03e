"""A paused model: its jobs wait, their start deadlines do not run, and nothing is lost."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from service.domain.ids import KeyId
from service.domain.job import JobState
from service.domain.limits import Limits
from service.lifecycle.pause import pause, resume
from service.store import audit, jobs
from service.store.database import Database, Transaction
from tests import make
from tests.make import START, submit


def at(seconds: float):  # type: ignore[no-untyped-def]
    return START + timedelta(seconds=seconds)


def accept(db: Database, key_id: KeyId, seconds: float, wait: float | None = None):  # type: ignore[no-untyped-def]
    limit = None if wait is None else timedelta(seconds=wait)
    new = make.submission(key_id, start_timeout=limit)
    return make.do(db, lambda tx: submit(tx, new, Limits(), at(seconds))).job


def test_no_job_of_a_paused_model_is_claimed(db: Database, key_id: KeyId) -> None:
    accept(db, key_id, 0)
    make.do(db, lambda tx: pause(tx, "slate", key_id, at(1)))
    assert make.claim(db, at(2)) is None
    assert make.claim(db, at(2), ("slate", "first")) is None

    make.do(db, lambda tx: resume(tx, "slate", key_id, at(3)))

    assert make.claim(db, at(4)).job.state is JobState.STARTING


def test_another_model_goes_on(db: Database, key_id: KeyId) -> None:
    accept(db, key_id, 0)

    make.do(db, lambda tx: pause(tx, "first", key_id, at(1)))

    assert make.claim(db, at(2), ("first", "slate")) is not None


@pytest.mark.parametrize(
    ("submitted", "left"), [(0, 60 - 10), (15, 60)], ids=["before the pause", "during the pause"]
)
def test_start_deadlines_do_not_run_during_a_pause(
    db: Database, key_id: KeyId, submitted: float, left: float
) -> None:
    before = [accept(db, key_id, 0, wait=60)] if submitted == 0 else []
    make.do(db, lambda tx: pause(tx, "slate", key_id, at(10)))
    job = before[0] if before else accept(db, key_id, submitted, wait=60)
    assert make.do(db, lambda tx: jobs.never_started(tx, at(1000))) == []

    make.do(db, lambda tx: resume(tx, "slate", key_id, at(2000)))

    after = db.read(lambda tx: jobs.get(tx, job.id))
    assert after is not None
    assert after.start_deadline_at == at(2000 + left)
    assert db.read(lambda tx: jobs.never_started(tx, at(2000 + left))) == []
    late = db.read(lambda tx: jobs.never_started(tx, at(2001 + left)))
    assert [each.id for each in late] == [job.id]


def test_pausing_twice_and_resuming_twice_change_nothing(db: Database, key_id: KeyId) -> None:
    first = make.do(db, lambda tx: pause(tx, "slate", key_id, at(1)))
    again = make.do(db, lambda tx: pause(tx, "slate", key_id, at(9)))
    assert (first, again) == (at(1), at(1))
    assert db.read(jobs.paused_models) == {"slate": at(1)}

    for second in (10, 11):
        make.do(db, lambda tx, second=second: resume(tx, "slate", key_id, at(second)))

    assert db.read(jobs.paused_models) == {}
    entries = db.read(lambda tx: audit.page(tx, size=9))
    assert [(each.act, each.target, each.at) for each in entries] == [
        ("model.resume", "slate", at(10)),
        ("model.pause", "slate", at(1)),
    ]


Act = Callable[[Transaction, str, KeyId, datetime], Any]


def at_once(url: str, act: Act, key_id: KeyId, *moments: datetime) -> None:
    """Act in two transactions of which the second has begun before the first commits."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as first, engine.connect() as second, ThreadPoolExecutor(1) as pool:
        act(Transaction(first), "slate", key_id, moments[0])
        waiting = pool.submit(act, Transaction(second), "slate", key_id, moments[1])
        with engine.connect() as watching:
            while not waiting.done() and not watching.execute(_LOCK_WAITS).scalar():
                watching.rollback()
        first.commit()
        waiting.result()
        second.commit()


_LOCK_WAITS = sa.text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


def test_two_processes_that_pause_and_resume_at_once_do_each_once(postgres_url: str) -> None:
    db = Database(postgres_url, lambda topics: None)
    key_id, _ = make.key(db)
    job = accept(db, key_id, 0, wait=60)

    at_once(postgres_url, pause, key_id, at(10), at(11))
    assert db.read(jobs.paused_models) == {"slate": at(10)}
    at_once(postgres_url, resume, key_id, at(110), at(111))

    after = db.read(lambda tx: jobs.get(tx, job.id))
    entries = db.read(lambda tx: audit.page(tx, size=9))
    db.close()
    assert after is not None
    assert after.start_deadline_at == at(60 + 100)
    assert [(each.act, each.at) for each in entries] == [
        ("model.resume", at(110)),
        ("model.pause", at(10)),
    ]


def test_a_job_that_runs_goes_on_to_its_end(db: Database, key_id: KeyId) -> None:
    accept(db, key_id, 0)
    claim = make.claim(db, at(1))
    make.do(db, lambda tx: pause(tx, "slate", key_id, at(2)))

    assert make.begin(db, claim, at(3)).state is JobState.RUNNING
