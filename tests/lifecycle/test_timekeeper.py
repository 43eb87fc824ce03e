from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import sqlalchemy as sa

from service.artifacts.files import Files
from service.domain.attempt import FailureKind
from service.domain.clock import PATIENCE, ServiceClock
from service.domain.ids import KeyId
from service.domain.job import Idempotency, Job, JobState, Scope
from service.domain.limits import Limits
from service.domain.retention import RetentionPolicy
from service.lifecycle import report, sessions
from service.lifecycle.jobs import request_cancel
from service.lifecycle.leader import Leadership
from service.lifecycle.pause import pause, resume
from service.lifecycle.rescue import Rescuer
from service.lifecycle.retention import Retention
from service.lifecycle.timekeeper import Timekeeper
from service.store import deliveries, jobs, keys
from service.store.database import Database, Transaction
from service.store.tables import EndpointRow
from tests import make
from tests.make import submit

HOUR = 3600
DAY = 24 * HOUR
JUMPS = pytest.mark.parametrize("jump", [HOUR, 8 * DAY, -HOUR])


@dataclass
class Machine:
    """One process: its machine's clock, which may be set, and the time that passes there."""

    db: Database
    wall: make.FakeClock = field(default_factory=make.FakeClock)
    passed: make.FakeClock = field(default_factory=make.FakeClock)
    turns: bool = False

    def __post_init__(self) -> None:
        self.clock = ServiceClock(self.wall, self.passed.steady)
        self.keeper = Timekeeper(self.db, self.clock, Leadership(self.db) if self.turns else None)

    def pass_by(self, seconds: float) -> None:
        self.wall.advance(seconds)
        self.passed.advance(seconds)

    def tick(self) -> bool:
        self.pass_by(1)
        return self.keeper.is_leading()

    def set_clock(self, seconds: float) -> None:
        """The machine's clock jumps, and the next tick sees it."""
        self.wall.advance(seconds)
        assert not self.tick(), "nothing is judged while the time is moved"


@pytest.fixture
def machine(db: Database) -> Machine:
    machine = Machine(db)
    machine.tick()
    assert machine.tick()
    return machine


def queued(db: Database, key_id: KeyId, machine: Machine, **changes: Any) -> Job:
    asked = make.submission(key_id, **changes)
    job: Job = make.do(db, lambda tx: submit(tx, asked, Limits(), machine.clock())).job
    return job


def get(db: Database, job: Job) -> Job:
    found = db.read(lambda tx: jobs.get(tx, job.id))
    assert found is not None
    return found


@JUMPS
def test_a_jump_leaves_an_attempt_the_time_that_it_has(
    db: Database, key_id: KeyId, machine: Machine, tmp_path: Path, jump: int
) -> None:
    rescuer = Rescuer(db, Files(tmp_path), make.TERMS, make.PULLED, max_lease=timedelta(days=1))
    job = queued(db, key_id, machine, timeout=timedelta(seconds=60))
    claimed = make.claim(db, machine.clock())
    make.do(
        db,
        lambda tx: report.begin(
            tx,
            make.credentials(claimed),
            call_id="c",
            lease=timedelta(days=1),
            terms=make.TERMS,
            now=machine.clock(),
        ),
    )

    machine.pass_by(10)
    machine.set_clock(jump)
    machine.pass_by(40)
    rescuer.tick(machine.clock())

    assert get(db, job).state is JobState.RUNNING
    machine.pass_by(20)
    rescuer.tick(machine.clock())
    timed_out = get(db, job)
    assert timed_out.error is not None
    assert timed_out.error.code == "timeout"


@JUMPS
def test_a_jump_neither_expires_a_job_nor_lets_it_wait_longer(
    db: Database, key_id: KeyId, machine: Machine, tmp_path: Path, jump: int
) -> None:
    rescuer = Rescuer(db, Files(tmp_path), make.TERMS, make.PULLED)
    job = queued(db, key_id, machine, start_timeout=timedelta(seconds=60))

    machine.set_clock(jump)
    machine.pass_by(50)
    rescuer.tick(machine.clock())

    assert get(db, job).state is JobState.QUEUED
    machine.pass_by(10)
    rescuer.tick(machine.clock())
    assert get(db, job).state is JobState.EXPIRED


@JUMPS
def test_a_jump_during_a_pause_leaves_a_job_the_time_to_start_that_it_had(
    db: Database, key_id: KeyId, machine: Machine, jump: int
) -> None:
    job = queued(db, key_id, machine, start_timeout=timedelta(seconds=60))
    begun = machine.clock()
    make.do(db, lambda tx: pause(tx, "slate", key_id, begun))

    machine.pass_by(600)
    machine.set_clock(jump)
    now = machine.clock()
    assert db.read(jobs.paused_models) == {"slate": now - timedelta(seconds=601)}
    make.do(db, lambda tx: resume(tx, "slate", key_id, now))

    assert get(db, job).start_deadline_at == now + timedelta(seconds=60)


@JUMPS
def test_a_session_of_the_pages_lasts_as_long_whatever_the_clock_does(
    db: Database, machine: Machine, jump: int
) -> None:
    id_, _ = make.key(db, admin=True)
    (key,) = (key for key in db.read(keys.every) if key.id == id_)
    token = make.do(db, lambda tx: sessions.begin(tx, key, machine.clock()))

    machine.set_clock(jump)
    machine.pass_by(11 * HOUR)

    assert db.read(lambda tx: sessions.find_key(tx, token, machine.clock())) is not None
    machine.pass_by(HOUR)
    assert db.read(lambda tx: sessions.find_key(tx, token, machine.clock())) is None


@JUMPS
def test_a_jump_keeps_the_wait_before_another_attempt(
    db: Database, key_id: KeyId, machine: Machine, jump: int
) -> None:
    queued(db, key_id, machine)
    claimed = make.claim(db, machine.clock())
    begun = make.begin(db, claimed, machine.clock())
    failure = make.failure(FailureKind.TRANSIENT)
    again = make.do(
        db,
        lambda tx: report.fail(
            tx,
            make.credentials(claimed),
            fence=begun.fence,
            failure=failure,
            terms=make.TERMS,
            now=machine.clock(),
        ),
    )
    wait = again.run_at - machine.clock()

    machine.set_clock(jump)

    assert get(db, again).run_at == machine.clock() + wait - timedelta(seconds=1)


@JUMPS
def test_an_attempt_costs_no_time_that_the_clock_jumped(
    db: Database, key_id: KeyId, machine: Machine, jump: int
) -> None:
    job = queued(db, key_id, machine, request=make.request(model="ltx-2b"))
    claimed = make.claim(db, machine.clock(), models=("ltx-2b",))
    begun = make.begin(db, claimed, machine.clock())

    machine.pass_by(9)
    machine.set_clock(jump)
    failure = make.failure(FailureKind.USER)
    make.do(
        db,
        lambda tx: report.fail(
            tx,
            make.credentials(claimed),
            fence=begun.fence,
            failure=failure,
            terms=make.TERMS,
            now=machine.clock(),
        ),
    )

    assert get(db, job).gpu_seconds == 10


@JUMPS
def test_a_name_is_remembered_as_long_whatever_the_clock_does(
    db: Database, key_id: KeyId, machine: Machine, jump: int
) -> None:
    named = Idempotency("n", b"f" * 32)
    job = queued(db, key_id, machine, idempotency=named)

    machine.set_clock(jump)
    machine.pass_by(23 * HOUR)

    assert queued(db, key_id, machine, idempotency=named).id == job.id
    machine.pass_by(HOUR)
    assert queued(db, key_id, machine, idempotency=named).id != job.id


@JUMPS
def test_a_webhook_is_tried_again_after_the_time_that_it_was_put_off(
    db: Database, key_id: KeyId, machine: Machine, jump: int
) -> None:
    url = "https://example.com/hook"
    job = queued(db, key_id, machine, webhook_url=url)
    make.do(
        db,
        lambda tx: request_cancel(
            tx, job.id, Scope(key_id), machine.clock() + timedelta(seconds=60)
        ),
    )

    def due() -> int:
        return len(
            db.read(
                lambda tx: deliveries.due(tx, machine.clock(), busy_hosts=[], busy_keys=[], size=9)
            )
        )

    machine.set_clock(jump)

    assert due() == 0
    machine.pass_by(60)
    assert due() == 1


def finished(db: Database, key_id: KeyId, machine: Machine, artifacts: Files, tmp: Path) -> Job:
    """A job with a video, and with what a lost attempt has left."""
    job = queued(db, key_id, machine)
    claimed = make.claim(db, machine.clock())
    begun = make.begin(db, claimed, machine.clock())
    outcome = make.outcome(begun)
    for key in (outcome.facts.video.key, f"jobs/{job.id}/lost/video.mp4"):
        scratch = tmp / "scratch"
        scratch.write_bytes(b"abc")
        artifacts.put(key, scratch, "video/mp4")
    make.do(
        db,
        lambda tx: report.finish(
            tx,
            make.credentials(claimed),
            fence=begun.fence,
            outcome=outcome,
            terms=make.TERMS,
            now=machine.clock(),
        ),
    )
    return get(db, job)


def test_nothing_is_deleted_within_hours_of_a_jump(
    db: Database, key_id: KeyId, machine: Machine, tmp_path: Path
) -> None:
    artifacts = Files(tmp_path / "artifacts")
    retention = Retention(db, artifacts, RetentionPolicy())
    job = finished(db, key_id, machine, artifacts, tmp_path)
    assert job.result is not None

    def purge() -> list[str]:
        assert machine.tick()
        retention.tick(machine.keeper.certain_time(machine.clock()))
        return artifacts.children(f"jobs/{job.id}")

    machine.set_clock(8 * DAY)
    assert len(purge()) == 2, "the video, and what the lost attempt has left"
    machine.pass_by(PATIENCE.total_seconds() - 60)
    assert purge() == [job.result.video.key.split("/")[2]], "of hours that have passed"
    machine.pass_by(60)
    assert purge() == []


def test_a_clock_that_jumps_and_comes_back_changes_nothing(
    db: Database, key_id: KeyId, machine: Machine, tmp_path: Path
) -> None:
    artifacts = Files(tmp_path / "artifacts")
    retention = Retention(db, artifacts, RetentionPolicy())
    job = finished(db, key_id, machine, artifacts, tmp_path)

    machine.set_clock(8 * DAY)
    machine.set_clock(-8 * DAY)
    machine.pass_by(PATIENCE.total_seconds())
    assert machine.tick()
    retention.tick(machine.keeper.certain_time(machine.clock()))

    assert machine.clock() == machine.wall()
    assert len(artifacts.children(f"jobs/{job.id}")) == 1
    machine.pass_by(7 * DAY)
    machine.tick()
    retention.tick(machine.keeper.certain_time(machine.clock()))
    assert artifacts.children(f"jobs/{job.id}") == []


def test_a_machine_that_boots_with_a_wrong_clock_deletes_nothing(
    db: Database, key_id: KeyId, machine: Machine, tmp_path: Path
) -> None:
    artifacts = Files(tmp_path / "artifacts")
    job = finished(db, key_id, machine, artifacts, tmp_path)

    later = Machine(db, make.FakeClock(machine.wall.now + timedelta(days=40)))
    assert not later.tick()
    assert later.tick()
    Retention(db, artifacts, RetentionPolicy()).tick(later.keeper.certain_time(later.clock()))

    assert len(artifacts.children(f"jobs/{job.id}")) == 2
    # Nor when it is started once more.
    third = Machine(db, make.FakeClock(later.wall.now + timedelta(seconds=3)))
    third.tick()
    assert third.tick()
    assert third.keeper.certain_time(third.clock()) < machine.clock() + timedelta(hours=1)


@pytest.mark.parametrize("away", [HOUR, -HOUR])
def test_an_attempt_is_not_charged_with_what_happened_while_the_service_was_away(
    db: Database, key_id: KeyId, machine: Machine, tmp_path: Path, away: int
) -> None:
    job = queued(db, key_id, machine, timeout=timedelta(seconds=60))
    make.begin(db, make.claim(db, machine.clock()), machine.clock())

    later = Machine(db, make.FakeClock(machine.wall.now + timedelta(seconds=away)))
    later.tick()
    assert later.tick()

    deadline = get(db, job).run_deadline_at
    assert deadline is not None
    left = (deadline - later.clock()).total_seconds()
    assert 50 <= left <= 60


def two(db: Database) -> tuple[Machine, Machine]:
    """Two processes that share a database; the first leads."""
    first, second = Machine(db, turns=True), Machine(db, turns=True)
    for _ in range(2):
        first.tick()
        second.tick()
    assert first.tick()
    assert not second.tick()
    return first, second


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@pytest.mark.parametrize("earlier", [0, 1])
def test_a_jump_that_two_processes_see_moves_the_deadlines_once(
    db: Database, key_id: KeyId, jump: int, earlier: int
) -> None:
    both = two(db)
    job = queued(db, key_id, both[0], start_timeout=timedelta(seconds=600))
    for machine in both:
        machine.wall.advance(jump)

    for _ in range(4):
        both[earlier].tick()
        both[1 - earlier].tick()

    for machine in both:
        assert abs((machine.clock() - machine.wall()).total_seconds()) < 5
    deadline = get(db, job).start_deadline_at
    assert deadline is not None
    assert 585 <= (deadline - both[0].clock()).total_seconds() <= 600


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@pytest.mark.parametrize("whose", [0, 1])
def test_processes_keep_one_time_though_the_clock_of_one_machine_jumps(
    db: Database, key_id: KeyId, jump: int, whose: int
) -> None:
    both = two(db)
    job = queued(db, key_id, both[0], start_timeout=timedelta(seconds=600))
    both[whose].wall.advance(jump)

    for _ in range(4):
        both[0].tick()
        both[1].tick()

    assert abs((both[0].clock() - both[1].clock()).total_seconds()) < 5
    deadline = get(db, job).start_deadline_at
    assert deadline is not None
    assert 585 <= (deadline - both[1].clock()).total_seconds() <= 600


def test_the_process_that_takes_over_brings_the_time_back_to_its_own_clock(
    db: Database, key_id: KeyId
) -> None:
    first, second = two(db)
    first.wall.advance(HOUR)
    for _ in range(4):
        first.tick()
        second.tick()
    job = queued(db, key_id, second, start_timeout=timedelta(seconds=600))

    while not second.keeper._leads:  # the first has died
        second.tick()
    second.tick()

    assert second.clock() == second.wall()
    deadline = get(db, job).start_deadline_at
    assert deadline is not None
    assert 570 <= (deadline - second.clock()).total_seconds() <= 600


def test_a_process_that_does_not_lead_begins_with_the_time_of_the_one_that_does(
    db: Database,
) -> None:
    first, _ = two(db)
    late = Machine(db, make.FakeClock(first.wall.now - timedelta(seconds=14)), turns=True)

    late.keeper.begin()

    assert abs((late.clock() - first.clock()).total_seconds()) < 5


@pytest.mark.parametrize("away", [DAY, -HOUR])
def test_what_is_accepted_once_the_service_has_begun_moves_no_more(
    db: Database, key_id: KeyId, machine: Machine, away: int
) -> None:
    later = Machine(db, make.FakeClock(machine.wall.now + timedelta(seconds=away)))

    later.keeper.begin()
    job = queued(db, key_id, later, start_timeout=timedelta(seconds=300))
    for _ in range(3):
        later.tick()

    assert get(db, job).start_deadline_at == job.start_deadline_at


@JUMPS
def test_a_receiver_has_failed_for_as_long_whatever_the_clock_does(
    db: Database, key_id: KeyId, machine: Machine, jump: int
) -> None:
    since = machine.clock()
    failing = sa.insert(EndpointRow).values(
        id="end_1",
        key_id=key_id,
        url="https://example.com/hook",
        events=[],
        secret=b"s",
        created_at=since,
        failing_since=since,
    )
    make.do(db, lambda tx: tx.execute(failing).rowcount)

    machine.set_clock(jump)

    (moved,) = db.read(lambda tx: tx.execute(sa.select(EndpointRow.failing_since)).scalars().all())
    assert moved == machine.clock() - timedelta(seconds=1)


def test_a_clock_whose_deadlines_could_not_be_moved_stays_as_it_was(
    db: Database, machine: Machine
) -> None:
    def broken(_: sa.Connection) -> None:
        raise OSError("the disk is full")

    before = machine.clock()
    machine.wall.advance(HOUR)
    sa.event.listen(db._engine, "commit", broken)

    with pytest.raises(OSError, match="full"):
        machine.keeper.is_leading()

    assert machine.clock() == before


def test_work_that_runs_again_before_the_deadlines_move_sees_the_time_before(
    db: Database, machine: Machine
) -> None:
    begun, gate, seen = Event(), Event(), []

    def hold(_: Transaction) -> None:
        begun.set()
        gate.wait(30)

    def look(_: Transaction) -> None:
        seen.append(machine.clock() - before)

    def spoil(tx: Transaction) -> None:
        tx.execute(sa.text("DELETE FROM nothing_of_this_name"))

    machine.wall.advance(HOUR)
    before = machine.clock()
    held = db.write(hold)
    begun.wait()
    looked = db.write(look)
    moving = Thread(target=machine.keeper.is_leading)
    moving.start()
    while db._writer._queue.qsize() < 2:
        moving.join(0.01)
    spoiling = db.write(spoil)
    gate.set()

    assert spoiling.exception() is not None
    held.result()
    looked.result()
    moving.join()
    assert seen == [timedelta(0), timedelta(0)], "once in the batch, and once by itself"
    assert machine.clock() - before == timedelta(seconds=HOUR)
