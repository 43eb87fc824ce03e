"""A lock that somebody else holds costs those who need it, on a real Postgres."""

import itertools
import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa

from service.artifacts.files import Files
from service.domain.attempt import Ticket
from service.domain.errors import Busy, Unavailable
from service.domain.ids import KeyId
from service.domain.job import JobState, Submission
from service.domain.limits import Limits
from service.domain.models.catalog import SLATE
from service.lifecycle.calls.calls import Calls
from service.lifecycle.rescue import Rescuer, Unserved
from service.lifecycle.submit import Answer, submit_all
from service.store import jobs
from service.store.database import Database
from service.store.lock_waits import LockWaits
from service.store.transaction import Transaction
from tests import make
from tests.lifecycle.test_calls import Played

_LIMITS = Limits(max_queued_per_key=1_000)


@pytest.fixture
def db(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url, lambda topics: None)
    yield database
    database.close()


def patient(db: Database) -> None:
    """Make it wait for locks by the number of its looks, and not by how fast the machine is."""
    db._writer._waits = LockWaits(now=partial(next, itertools.count(step=0.001)))


def impatient(db: Database) -> None:
    """Make it give up a lock at its second try."""
    db._writer._waits = LockWaits(now=partial(next, itertools.count(step=10)))


@contextmanager
def transaction(url: str) -> Iterator[sa.Connection]:
    """Of another process, that holds what it locks."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        yield connection
        connection.rollback()


def lock_key(connection: sa.Connection, key_id: KeyId) -> None:
    found = connection.execute(
        sa.text("SELECT * FROM keys WHERE id = :id FOR UPDATE"), {"id": key_id}
    )
    assert found.first() is not None


def submits(tx: Transaction, asked: list[Submission]) -> list[Answer]:
    return submit_all(tx, asked, _LIMITS, make.START)


def submit(db: Database, key_id: KeyId) -> Future[Answer]:
    return db.write_together(submits, make.submission(key_id), lock=key_id)


@contextmanager
def in_one_group(db: Database) -> Iterator[None]:
    """What is asked for within waits for the writer, who then finds all of it."""
    gate, at_it = Event(), Event()

    def block(_: Transaction) -> None:
        at_it.set()
        gate.wait(60)

    blocker = db.write(block)
    assert at_it.wait(60)
    yield
    gate.set()
    blocker.result(60)


@contextmanager
def told_busy(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The jobs of which the log says that they could not be moved, as they were Busy."""
    told: list[str] = []
    with caplog.at_level(logging.WARNING):
        yield told
    fields = [vars(record) for record in caplog.records]
    told += [each["job"] for each in fields if isinstance(each.get("error"), Busy)]


def calls_of(db: Database, modal: Played, folder: Path, *models: str) -> Calls:
    return Calls(
        db=db,
        dispatcher=modal,
        artifacts=Files(folder),
        cards=dict.fromkeys(models, SLATE),
        terms=make.TERMS,
        max_active_per_key=100,
        max_calls=100,
        api_url="https://video.example.com",
    )


def noted(order: list[str], name: str, future: Future[Any]) -> Future[Any]:
    future.add_done_callback(lambda _: order.append(name))
    return future


def test_a_lock_on_one_keys_row_holds_up_no_other_keys_submits(
    db: Database, postgres_url: str
) -> None:
    patient(db)
    (locked, _), (free, _) = make.key(db), make.key(db)
    order: list[str] = []

    with transaction(postgres_url) as holder:
        lock_key(holder, locked)
        with in_one_group(db):  # the last of them is in the third group of the writer's
            waiting = [noted(order, "locked", submit(db, locked)) for _ in range(150)]
            served = [noted(order, "free", submit(db, free)) for _ in range(3)]
        accepted = [future.result(120) for future in served]
        later = submit(db, free).result(120)
        order_while_locked = list(order)
    accepted += [future.result(120) for future in waiting]

    assert order_while_locked == ["free"] * 3
    assert not [answer for answer in (*accepted, later) if isinstance(answer, Exception)]
    assert len(db.read(jobs.waiting)) == 154


def test_what_waits_for_a_lock_for_too_long_is_busy(db: Database, postgres_url: str) -> None:
    impatient(db)
    key_id, _ = make.key(db)

    with transaction(postgres_url) as holder:
        lock_key(holder, key_id)
        with pytest.raises(Busy) as refused:
            submit(db, key_id).result(60)

    assert refused.value.retryable
    assert not db.read(jobs.waiting)


def test_a_change_of_one_locked_job_holds_up_no_other(db: Database, postgres_url: str) -> None:
    patient(db)
    key_id, _ = make.key(db)
    job_ids = [submit(db, key_id).result(60).job.id for _ in range(2)]  # type: ignore[union-attr]
    order: list[str] = []

    def hold(tx: Transaction, number: int) -> bool:
        return jobs.get_for_update(tx, job_ids[number]) is not None

    with transaction(postgres_url) as holder:
        held = sa.text("SELECT id FROM jobs WHERE id = :id FOR UPDATE")
        assert holder.execute(held, {"id": job_ids[0]}).first() is not None
        with in_one_group(db):
            locked = noted(order, "locked", db.write(partial(hold, number=0)))
            free = noted(order, "free", db.write(partial(hold, number=1)))
        assert free.result(120)
        order_while_locked = list(order)

    assert locked.result(120)
    assert order_while_locked == ["free"]


def test_workers_are_given_the_jobs_of_other_keys_while_one_keys_row_is_locked(
    db: Database, postgres_url: str
) -> None:
    impatient(db)
    (locked, _), (free, _) = make.key(db), make.key(db)
    first = submit(db, locked).result(60).job.id  # type: ignore[union-attr]
    second = submit(db, free).result(60).job.id  # type: ignore[union-attr]

    with transaction(postgres_url) as holder:
        lock_key(holder, locked)
        given = make.claim(db, make.START)
        assert make.claim(db, make.START) is None
        assert not db._writer._waits
    later = make.claim(db, make.START)

    assert (given.job.id, later.job.id) == (second, first)


def test_time_moves_the_jobs_of_other_keys_while_one_keys_row_is_locked(
    db: Database, postgres_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    impatient(db)
    (locked, _), (free, _) = make.key(db), make.key(db)
    for key_id in (locked, locked, locked, free):
        submit(db, key_id).result(60)
    taken = [make.claim(db, make.START).job for _ in range(4)]
    rescuer = Rescuer(db, Files(tmp_path), make.TERMS, make.PULLED)
    late = make.START + 2 * make.LEASE + timedelta(seconds=1)

    with transaction(postgres_url) as holder:
        lock_key(holder, locked)
        with told_busy(caplog) as told:
            assert rescuer.tick(late) == 1
        left = db.read(lambda tx: jobs.get_all(tx, [job.id for job in taken]))

    assert len(told) == 1, "the others of its key were not waited for"
    found = {(job.key_id, job.state) for job in left.values()}
    assert found == {(locked, JobState.STARTING), (free, JobState.QUEUED)}
    assert rescuer.tick(late) == 3


def test_a_silent_call_of_a_locked_key_is_not_called_lost(
    db: Database, postgres_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    impatient(db)
    (locked, _), (free, _) = make.key(db), make.key(db)
    modal = Played()
    calls = calls_of(db, modal, tmp_path, "slate")
    for key_id in (locked, locked, free):
        submit(db, key_id).result(60)
    assert calls.start_due(make.START) == 3
    modal.looks = {f"fc-{number}": "died" for number in (1, 2, 3)}
    rescuer = Rescuer(db, Files(tmp_path), make.TERMS, make.called(calls), make.LEASE)

    with transaction(postgres_url) as holder:
        lock_key(holder, locked)
        with told_busy(caplog) as told:
            assert rescuer.tick(make.START + timedelta(seconds=31)) == 1

    assert len(told) == 1
    assert {job.key_id for job in db.read(jobs.waiting)} == {free}
    assert db.read(jobs.count_running) == 2


def test_jobs_of_other_keys_leave_a_model_that_is_gone_while_one_keys_row_is_locked(
    db: Database, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    impatient(db)
    (locked, _), (free, _) = make.key(db), make.key(db)
    for key_id in (locked, locked, free):
        submit(db, key_id).result(60)
    unserved = Unserved(db, replace(make.TERMS, models=frozenset({"second"})), is_shared=False)

    with transaction(postgres_url) as holder:
        lock_key(holder, locked)
        with told_busy(caplog) as told:
            assert unserved.tick(make.START) == 1

    assert len(told) == 1
    assert {job.key_id for job in db.read(jobs.waiting)} == {locked}
    assert unserved.tick(make.START) == 2


def test_calls_of_other_models_are_started_while_one_keys_row_is_locked(
    db: Database, postgres_url: str, tmp_path: Path
) -> None:
    """It is locked while a start of its job fails, so that the job cannot be given back."""
    impatient(db)
    (locked, _), (free, _) = make.key(db), make.key(db)
    submit(db, locked).result(60)
    asked = make.submission(free, request=make.request(model="second"))
    db.write_together(submits, asked, lock=free).result(60)

    with transaction(postgres_url) as holder:

        class Faulty(Played):
            def send(self, ticket: Ticket) -> str:
                self.away = ticket.request.model == "slate"
                if self.away:
                    lock_key(holder, locked)
                return super().send(ticket)

        calls = calls_of(db, Faulty(), tmp_path, "slate", "second")
        assert calls.start_due(make.START) == 1
        holder.rollback()


def test_a_read_of_a_locked_table_is_refused_in_time(db: Database, postgres_url: str) -> None:
    with transaction(postgres_url) as holder, ThreadPoolExecutor() as pool:
        holder.exec_driver_sql("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        reading = pool.submit(db.read, jobs.count_running)
        try:
            with pytest.raises(Unavailable):
                reading.result(60)
        finally:
            holder.rollback()

    assert db.read(jobs.count_running) == 0


def test_a_read_that_takes_too_long_is_refused_in_time(db: Database) -> None:
    def sleep(tx: Transaction) -> Any:
        return tx.connection.exec_driver_sql("SELECT pg_sleep(120)").scalar()

    with ThreadPoolExecutor() as pool, pytest.raises(Unavailable):
        pool.submit(db.read, sleep).result(60)


def test_a_job_that_is_held_is_changed_by_nobody_else(db: Database, postgres_url: str) -> None:
    key_id, _ = make.key(db)
    job_id = submit(db, key_id).result(60).job.id  # type: ignore[union-attr]

    def change_beside(tx: Transaction) -> str:
        assert jobs.get_for_update(tx, job_id) is not None
        with transaction(postgres_url) as other:
            other.exec_driver_sql("SET lock_timeout = '1ms'")
            try:
                other.exec_driver_sql("UPDATE jobs SET progress = 0.5")
            except sa.exc.OperationalError as error:
                return str(error)
        return "changed"

    assert "lock timeout" in make.do(db, change_beside)
