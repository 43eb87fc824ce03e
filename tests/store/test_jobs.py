from datetime import timedelta

import pytest
import sqlalchemy as sa

from service.domain.attempt import Failure, FailureKind, Progress, Stage
from service.domain.errors import Lost
from service.domain.ids import KeyId
from service.domain.job import Job, JobState
from service.domain.limits import Limits
from service.domain.price import Charge
from service.lifecycle.report import give_back
from service.store import jobs, keys, moves
from service.store.database import Database
from service.store.engine import make_engine
from service.store.job_rows import job_table
from tests import make
from tests.make import submit

TROUBLE = Failure(kind=FailureKind.INTERNAL, code="x", message="y")


def submitted(db: Database, key_id: KeyId, **changes: object) -> Job:
    asked = make.submission(key_id, **changes)
    job: Job = make.do(db, lambda tx: submit(tx, asked, Limits(), make.START)).job
    return job


def test_a_job_comes_back_as_it_went_in(db: Database, key_id: KeyId) -> None:
    job = submitted(db, key_id, metadata={"a": "b"}, priority="high", traceparent="00-" + "0" * 52)

    assert db.read(lambda tx: jobs.get(tx, job.id)) == job


def test_another_keys_job_is_not_there(db: Database, key_id: KeyId) -> None:
    job = submitted(db, key_id)
    stranger, _ = make.key(db)

    assert db.read(lambda tx: jobs.get(tx, job.id, key_id=stranger)) is None


def test_a_stale_fence_moves_nothing(db: Database, key_id: KeyId) -> None:
    old = submitted(db, key_id)
    claimed = make.claim(db, make.START)
    now = make.START

    assert claimed.job.fence == old.fence + 1
    for move in (
        lambda tx: moves.cancel(tx, old, charge=Charge(now)),
        lambda tx: moves.expire(tx, old, now=now),
    ):
        with pytest.raises(Lost):
            make.do(db, move)


def test_a_final_job_never_moves_again(db: Database, key_id: KeyId) -> None:
    job = submitted(db, key_id)
    done = make.do(db, lambda tx: moves.cancel(tx, job, charge=Charge(make.START)))

    assert done.state is JobState.CANCELED
    for move in (
        lambda tx: moves.claim(tx, done, lease_until=make.START),
        lambda tx: moves.begin(tx, done, now=make.START, lease=make.LEASE),
        lambda tx: moves.requeue(tx, done, run_at=make.START),
        lambda tx: moves.fail(tx, done, TROUBLE, charge=Charge(make.START)),
        lambda tx: moves.expire(tx, done, now=make.START),
    ):
        with pytest.raises(Lost):
            make.do(db, move)


def test_jobs_are_claimed_by_priority_then_age(db: Database, key_id: KeyId) -> None:
    low = submitted(db, key_id, priority="low")
    first, second = submitted(db, key_id), submitted(db, key_id)
    high = submitted(db, key_id, priority="high")

    order = [make.claim(db, make.START).job.id for _ in range(4)]

    assert order == [high.id, first.id, second.id, low.id]
    assert make.claim(db, make.START) is None


def test_a_worker_is_given_only_models_that_it_has(db: Database, key_id: KeyId) -> None:
    submitted(db, key_id)

    assert make.claim(db, make.START, models=("ltx-2b",)) is None


def test_a_job_is_not_claimed_before_its_time(db: Database, key_id: KeyId) -> None:
    job = submitted(db, key_id)
    claimed = make.claim(db, make.START)
    later = make.START + timedelta(seconds=10)
    make.do(db, lambda tx: moves.requeue(tx, claimed.job, run_at=later))

    assert make.claim(db, make.START) is None
    assert db.read(lambda tx: jobs.candidates(tx, ["slate"], later, limit=9))[0].id == job.id


def test_no_attempt_inherits_the_folder_of_the_one_before(db: Database, key_id: KeyId) -> None:
    submitted(db, key_id)
    job = make.begin(db, make.claim(db, make.START), make.START)
    assert job.folder_salt is not None

    queued = make.do(db, lambda tx: moves.requeue(tx, job, run_at=make.START))

    assert queued.folder_salt is None


def test_progress_never_falls_and_is_whole_only_at_the_end(db: Database, key_id: KeyId) -> None:
    submitted(db, key_id)
    job = make.begin(db, make.claim(db, make.START), make.START)
    shown = []
    for fraction in (0.5, 0.2, 1.0):
        told = Progress(stage="generate", fraction=fraction)
        job = make.do(
            db,
            lambda tx, job=job, told=told: moves.heartbeat(
                tx, job, told, now=make.START, lease=make.LEASE
            ),
        )
        shown.append(job.progress)

    assert shown == [0.5, 0.5, 0.99]


@pytest.mark.parametrize(
    "change",
    [
        "state = 'succeeded', finished_at = 1",  # no result
        "state = 'failed', finished_at = 1",  # no kind
        "state = 'canceled'",  # no finished_at
        "state = 'running'",  # no lease
        "state = 'paused'",
        "lease_until = 1",
        "progress = 1.5",
        "attempt = 4",
        "attempt = 1",  # above the fence
        "key_id = 'key_nobody'",
    ],
)
def test_the_database_itself_refuses_an_impossible_row(
    db: Database, key_id: KeyId, change: str
) -> None:
    submitted(db, key_id)

    with pytest.raises(sa.exc.IntegrityError):
        make.do(db, lambda tx: tx.execute(sa.text(f"UPDATE jobs SET {change}")))


def test_the_database_itself_refuses_a_second_open_attempt(db: Database, key_id: KeyId) -> None:
    submitted(db, key_id)
    make.claim(db, make.START)
    columns = "fence, token_hash, worker, restarts, created_at, gpu_ms, cost_microusd"
    into = f"INSERT INTO attempts (job_id, number, {columns})"
    twin = f"{into} SELECT job_id, 2, {columns} FROM attempts"

    with pytest.raises(sa.exc.IntegrityError):
        make.do(db, lambda tx: tx.execute(sa.text(twin)))


def test_the_count_of_queued_jobs_follows_every_move(db: Database, key_id: KeyId) -> None:
    def counted() -> int:
        return db.read(keys.count_queued)

    first, _ = submitted(db, key_id), submitted(db, key_id)
    assert counted() == 2
    claimed = make.claim(db, make.START)
    assert counted() == 1
    make.do(db, lambda tx: moves.requeue(tx, claimed.job, run_at=make.START))
    assert counted() == 2
    again = db.read(lambda tx: jobs.get(tx, first.id))
    make.do(db, lambda tx: moves.cancel(tx, again, charge=Charge(make.START)))
    assert counted() == 1


def test_only_a_queued_job_is_handed_on_and_only_its_new_model_hears_of_it(
    sqlite_url: str,
) -> None:
    event: list[str] = []
    db = Database(sqlite_url, event.extend)
    try:
        key_id, _ = make.key(db)
        job = submitted(db, key_id)
        onward = job.model_copy(update={"request": make.request(model="second")})
        event.clear()

        moved = make.do(db, lambda tx: moves.change_model(tx, job, onward, now=make.START))

        assert moved.request.model == "second"
        assert event == ["queue:second", job.id] or event == [job.id, "queue:second"]
        claimed = make.claim(db, make.START, ("second",)).job
        with pytest.raises(Lost):
            make.do(db, lambda tx: moves.change_model(tx, claimed, job, now=make.START))
    finally:
        db.close()


def test_what_an_attempt_may_still_take_is_told_by_its_own_progress(
    db: Database, key_id: KeyId
) -> None:
    submitted(db, key_id, expected_duration=timedelta(seconds=100))

    def run(fraction: float) -> Job:
        running = make.begin(db, make.claim(db, make.START), make.START, call_id=f"c{fraction}")
        told = Progress(stage=Stage.GENERATE, fraction=fraction)
        job: Job = make.do(
            db, lambda tx: moves.heartbeat(tx, running, told, now=make.START, lease=make.LEASE)
        )
        return job

    first = run(0.9)
    make.do(db, lambda tx: give_back(tx, first, make.TERMS, make.START))
    second = run(0.25)

    assert (second.progress, second.attempt_progress) == (0.9, 0.25)
    assert second.left_ms == 75_000
    assert db.read(jobs.remaining_times) == [("slate", 75_000)]
    # The same call begins again in another container.
    again = make.do(db, lambda tx: moves.restart(tx, second, now=make.START, lease=make.LEASE))
    assert again.left_ms == 100_000


_all = sa.select(job_table)
_claimed = {
    "model": "slate",
    "now": make.START,
    "owner": "k",
    "priority": 1,
    "limit": 9,
}


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (jobs._CANDIDATES, "first USING COVERING INDEX ix_jobs_claim"),
        (jobs._TAKE_FIRST, "USING INDEX ix_jobs_claim"),
        (_all.where(jobs._ACTIVE_NOW, job_table.c.lease_until < make.START), "ix_jobs_lease"),
        (_all.where(job_table.c.key_id == "k").order_by(job_table.c.id), "ix_jobs_owner"),
    ],
    ids=["candidates", "take", "lapsed", "list"],
)
def test_the_busy_queries_use_their_index(
    sqlite_url: str, statement: sa.Select, index: str
) -> None:
    engine = make_engine(sqlite_url)
    known = {name: _claimed[name] for name in statement.compile().params if name in _claimed}
    bound = statement.params(known)
    compiled = bound.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True})
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}").all()
    engine.dispose()

    assert any(index in step[3] for step in plan), plan
    assert not any("TEMP B-TREE" in step[3] for step in plan), plan
