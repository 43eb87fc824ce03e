"""A model is taken out of RUSHES_MODELS while jobs wait for it."""

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from service.domain.ids import KeyId
from service.domain.job import Job, JobState
from service.lifecycle import pause
from service.lifecycle.rescue import Unserved
from service.store import deliveries, jobs, keys, moves
from service.store.database import Database
from tests import make
from tests.lifecycle.test_fallback import run, send

SECOND = replace(make.TERMS, models=frozenset({"second"}))
ALL = make.TERMS


def get(db: Database, job: Job) -> Job:
    found = db.read(lambda tx: jobs.get(tx, job.id))
    assert found is not None
    return found


@pytest.fixture
def alone(db: Database) -> Unserved:
    return Unserved(db, SECOND, is_shared=False)


def test_a_waiting_job_goes_to_the_next_of_its_models(
    db: Database, key_id: KeyId, alone: Unserved, clock: make.FakeClock
) -> None:
    job = send(db, key_id, models=("first", "third", "second"))

    assert alone.tick(clock()) == 1

    onward = get(db, job)
    assert (onward.state, onward.request.model) == (JobState.QUEUED, "second")
    assert [(step.model, step.code) for step in onward.fell_back] == [("first", "model_not_served")]
    assert make.claim(db, clock(), ("second",)).job.id == job.id


def test_without_another_model_it_fails_and_its_webhook_is_owed(
    db: Database,
    key_id: KeyId,
    alone: Unserved,
    clock: make.FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = "https://example.com/hook"
    failing = [send(db, key_id, models=("first",), webhook_url=url) for _ in range(3)]
    kept = send(db, key_id, models=("second",))

    with caplog.at_level(logging.WARNING):
        assert alone.tick(clock()) == 3

    for job in failing:
        failed = get(db, job)
        assert failed.state is JobState.FAILED
        assert failed.error is not None
        assert failed.error.code == "model_not_served"
        assert "'first'" in failed.error.message
    owed = db.read(lambda tx: deliveries.due(tx, clock(), busy_hosts=[], busy_keys=[], size=9))
    assert len(owed) == 3
    assert get(db, kept).state is JobState.QUEUED
    assert db.read(keys.count_queued) == 1
    (told,) = [record for record in caplog.records if "no longer served" in record.message]
    fields = {"model": "first", "jobs": 3, "became": "failed"}
    assert fields.items() <= vars(told).items()


def test_jobs_of_a_paused_model_wait_until_it_is_resumed(
    db: Database, key_id: KeyId, alone: Unserved, clock: make.FakeClock
) -> None:
    job = send(db, key_id, models=("first", "second"))
    make.do(db, lambda tx: pause.pause(tx, "first", key_id, clock()))

    assert alone.tick(clock()) == 0
    assert get(db, job).state is JobState.QUEUED

    make.do(db, lambda tx: pause.resume(tx, "first", key_id, clock()))
    assert alone.tick(clock()) == 1
    assert get(db, job).request.model == "second"


def test_a_job_that_runs_is_let_end(
    db: Database, key_id: KeyId, alone: Unserved, clock: make.FakeClock
) -> None:
    send(db, key_id, models=("first",))
    _, job = run(db, clock)

    assert alone.tick(clock()) == 0

    assert get(db, job) == job


def test_of_several_services_one_that_serves_the_model_is_enough(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    fresh, other = (Unserved(db, terms, is_shared=True) for terms in (SECOND, ALL))
    job = send(db, key_id, models=("first",))

    for _ in range(30):
        for process in (fresh, other):
            process.announce_models(clock())
        assert fresh.tick(clock.advance(60)) == 0

    assert get(db, job).state is JobState.QUEUED


def test_services_are_restarted_one_after_another(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    other, fresh = (Unserved(db, terms, is_shared=True) for terms in (ALL, SECOND))
    other.announce_models(clock())
    job = send(db, key_id, models=("first",))

    for _ in range(9):  # the other one is away
        fresh.announce_models(clock())
        assert fresh.tick(clock.advance(60)) == 0
    Unserved(db, ALL, is_shared=True).announce_models(clock())
    assert fresh.tick(clock.advance(599)) == 0

    assert get(db, job).state is JobState.QUEUED
    assert fresh.tick(clock.advance(2)) == 1
    assert get(db, job).state is JobState.FAILED


def test_a_service_of_a_release_that_does_not_say_what_it_serves_is_waited_for(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    fresh = Unserved(db, SECOND, is_shared=True)
    send(db, key_id, models=("first",))

    assert fresh.tick(clock()) == 0
    assert fresh.tick(clock() + timedelta(minutes=9)) == 0
    assert fresh.tick(clock() + timedelta(minutes=11)) == 1


def test_a_job_that_ran_and_is_queued_again_is_seen(
    db: Database, key_id: KeyId, alone: Unserved, clock: make.FakeClock
) -> None:
    send(db, key_id, models=("first",))
    _, job = run(db, clock)
    assert alone.tick(clock()) == 0

    make.do(db, lambda tx: moves.requeue(tx, job, run_at=clock()))

    assert alone.tick(clock()) == 1


def test_one_tick_moves_some_and_the_next_one_the_others(
    db: Database, key_id: KeyId, alone: Unserved, clock: make.FakeClock
) -> None:
    for _ in range(101):
        send(db, key_id, models=("first",))

    assert [alone.tick(clock()) for _ in range(3)] == [100, 1, 0]


def test_a_file_is_not_looked_at_again_once_there_is_nothing_to_move(
    db: Database, alone: Unserved, clock: make.FakeClock
) -> None:
    assert alone.tick(clock()) == 0
    db.close()  # a read would be refused

    assert alone.tick(clock()) == 0


def test_after_all_were_away_the_first_one_up_waits_for_the_others(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    Unserved(db, ALL, is_shared=True).announce_models(clock())
    job = send(db, key_id, models=("first",))
    clock.advance(3600)

    first_up = Unserved(db, SECOND, is_shared=True)
    assert first_up.tick(clock()) == 0
    assert first_up.tick(clock.advance(599)) == 0
    assert get(db, job).state is JobState.QUEUED
    assert first_up.tick(clock.advance(2)) == 1
