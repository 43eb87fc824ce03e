from datetime import timedelta
from pathlib import Path

import pytest

from service.artifacts.files import Files
from service.domain.attempt import Progress
from service.domain.errors import Unavailable
from service.domain.ids import KeyId
from service.domain.job import MAX_ATTEMPTS, Job, JobState, Scope
from service.domain.limits import Limits
from service.domain.retry import MAX_LAPSED
from service.lifecycle.claim import Claim
from service.lifecycle.jobs import request_cancel
from service.lifecycle.rescue import Rescuer
from service.store import jobs, moves
from service.store.database import Database
from tests import make
from tests.make import submit


@pytest.fixture
def artifacts(tmp_path: Path) -> Files:
    return Files(tmp_path / "artifacts")


@pytest.fixture
def rescuer(db: Database, artifacts: Files) -> Rescuer:
    return Rescuer(db, artifacts, make.TERMS, make.PULLED)


@pytest.fixture
def running(db: Database, key_id: KeyId) -> Job:
    send(db, key_id)
    return make.begin(db, make.claim(db, make.START), make.START)


def send(db: Database, key_id: KeyId, **changes: object) -> Job:
    asked = make.submission(key_id, **changes)
    job: Job = make.do(db, lambda tx: submit(tx, asked, Limits(), make.START)).job
    return job


def now_of(db: Database, job: Job) -> Job:
    found = db.read(lambda tx: jobs.get(tx, job.id))
    assert found is not None
    return found


def test_a_worker_within_its_lease_is_left_alone(
    rescuer: Rescuer, running: Job, clock: make.FakeClock
) -> None:
    assert rescuer.tick(clock.advance(29)) == 0


def test_a_silent_workers_job_is_queued_again(
    db: Database, rescuer: Rescuer, running: Job, clock: make.FakeClock
) -> None:
    assert rescuer.tick(clock.advance(31)) == 1

    rescued = now_of(db, running)
    assert (rescued.state, rescued.attempt) == (JobState.QUEUED, 1)
    assert rescued.fence > running.fence


def test_a_job_that_kills_two_workers_fails(
    db: Database, rescuer: Rescuer, running: Job, clock: make.FakeClock
) -> None:
    rescuer.tick(clock.advance(31))
    make.begin(db, make.claim(db, clock()), clock(), call_id="call-2")
    rescuer.tick(clock.advance(31))

    failed = now_of(db, running)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.code == "worker_lost"


def test_what_a_silent_worker_finished_is_adopted(
    db: Database,
    rescuer: Rescuer,
    artifacts: Files,
    running: Job,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    make.leave_manifest(
        artifacts, tmp_path, running.artifact_prefix, make.outcome(running).model_dump_json()
    )

    rescuer.tick(clock.advance(31))

    adopted = now_of(db, running)
    assert adopted.state is JobState.SUCCEEDED
    assert adopted.result == make.outcome(running).facts


@pytest.mark.parametrize("content", [b"abd", b"abcd", None])
def test_bytes_that_are_not_those_of_the_manifest_are_not_adopted(
    db: Database,
    rescuer: Rescuer,
    artifacts: Files,
    running: Job,
    clock: make.FakeClock,
    tmp_path: Path,
    content: bytes | None,
) -> None:
    made, prefix = make.outcome(running), running.artifact_prefix
    make.leave_manifest(artifacts, tmp_path, prefix, made.model_dump_json())
    artifacts.delete(made.facts.video.key)
    if content is not None:
        (tmp_path / "other").write_bytes(content)
        artifacts.put(made.facts.video.key, tmp_path / "other", "video/mp4")

    rescuer.tick(clock.advance(31))

    assert now_of(db, running).state is JobState.QUEUED


@pytest.mark.parametrize("spoiled", ["thumbnail", "last_frame"])
def test_images_that_are_not_those_of_the_manifest_are_not_adopted(
    db: Database,
    rescuer: Rescuer,
    artifacts: Files,
    running: Job,
    clock: make.FakeClock,
    tmp_path: Path,
    spoiled: str,
) -> None:
    made, prefix = make.outcome(running), running.artifact_prefix
    make.leave_manifest(artifacts, tmp_path, prefix, made.model_dump_json())
    image = made.facts.artifacts[spoiled]
    (tmp_path / "other").write_bytes(b"abd")
    artifacts.delete(image.key)
    artifacts.put(image.key, tmp_path / "other", image.media_type)

    rescuer.tick(clock.advance(31))

    assert now_of(db, running).state is JobState.QUEUED


def test_attempts_with_one_fence_before_and_after_a_restore_share_no_folder(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    """Only the salt tells apart two runs of what the database knows as the same."""
    jobs_ = [send(db, key_id) for _ in range(2)]
    begun = [make.begin(db, make.claim(db, clock()), clock(), call_id=job.id) for job in jobs_]

    one, other = (job.artifact_prefix.rpartition("/")[2] for job in begun)

    assert begun[0].fence == begun[1].fence
    assert one != other
    assert now_of(db, jobs_[0]).artifact_prefix == begun[0].artifact_prefix


def test_half_a_manifest_is_not_adopted(
    db: Database,
    rescuer: Rescuer,
    artifacts: Files,
    running: Job,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    make.leave_manifest(
        artifacts, tmp_path, running.artifact_prefix, make.outcome(running).model_dump_json()[:50]
    )

    rescuer.tick(clock.advance(31))

    assert now_of(db, running).state is JobState.QUEUED


def test_the_manifest_of_another_clip_is_not_adopted(
    db: Database,
    rescuer: Rescuer,
    artifacts: Files,
    running: Job,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    made = make.outcome(running)
    facts = made.facts.model_copy(update={"num_frames": made.facts.num_frames + 8})
    make.leave_manifest(
        artifacts,
        tmp_path,
        running.artifact_prefix,
        made.model_copy(update={"facts": facts}).model_dump_json(),
    )

    rescuer.tick(clock.advance(31))

    assert now_of(db, running).state is JobState.QUEUED


def test_starts_that_never_come_end_the_job(
    db: Database, rescuer: Rescuer, key_id: KeyId, clock: make.FakeClock
) -> None:
    job = send(db, key_id)

    states = []
    for _ in range(MAX_LAPSED):
        make.claim(db, clock())
        rescuer.tick(clock.advance(31))
        states.append(now_of(db, job).state)

    assert states == [JobState.QUEUED] * (MAX_LAPSED - 1) + [JobState.FAILED]
    error = now_of(db, job).error
    assert error is not None
    assert error.code == "never_begun"


def test_a_start_that_never_came_is_queued_again(
    db: Database, rescuer: Rescuer, key_id: KeyId, clock: make.FakeClock
) -> None:
    job = send(db, key_id)
    claimed: Claim = make.claim(db, clock())

    rescuer.tick(clock.advance(31))

    assert now_of(db, job).state is JobState.QUEUED
    assert make.claim(db, clock()).job.attempt == claimed.job.attempt + 1


def test_starts_that_never_came_are_not_counted_against_the_job(
    db: Database, rescuer: Rescuer, key_id: KeyId, clock: make.FakeClock
) -> None:
    job = send(db, key_id)
    for _ in range(MAX_LAPSED - 1):
        make.claim(db, clock())
        rescuer.tick(clock.advance(31))

    waiting = now_of(db, job)
    assert waiting.state is JobState.QUEUED
    assert waiting.max_attempts - waiting.attempt == MAX_ATTEMPTS


def test_one_job_that_cannot_be_moved_holds_up_no_other(
    db: Database, rescuer: Rescuer, key_id: KeyId, clock: make.FakeClock, tmp_path: Path
) -> None:
    jobs_running = []
    for number in range(2):
        send(db, key_id)
        claimed = make.claim(db, clock())
        jobs_running.append(make.begin(db, claimed, clock(), call_id=f"call-{number}"))
    # Where the first one's manifest should be read there is a folder.
    (tmp_path / "artifacts" / jobs_running[0].artifact_prefix / "manifest.json").mkdir(parents=True)
    rescuer.artifacts.path = lambda key: (
        tmp_path / "artifacts" / key if jobs_running[0].id in key else None
    )  # type: ignore[method-assign]

    rescuer.tick(clock.advance(31))

    assert now_of(db, jobs_running[0]).state is JobState.RUNNING
    assert now_of(db, jobs_running[1]).state is JobState.QUEUED


def test_bytes_that_cannot_be_reached_make_no_job_lost_and_hold_up_no_other(
    db: Database, rescuer: Rescuer, running: Job, key_id: KeyId, clock: make.FakeClock
) -> None:
    def away(key: str) -> Path:
        raise Unavailable("the Volume does not answer")

    waiting = send(db, key_id, start_timeout=timedelta(seconds=60))
    found = rescuer.artifacts.path
    rescuer.artifacts.path = away  # type: ignore[method-assign]

    rescuer.tick(clock.advance(61))

    assert now_of(db, running).state is JobState.RUNNING
    assert now_of(db, waiting).state is JobState.EXPIRED
    rescuer.artifacts.path = found  # type: ignore[method-assign]
    rescuer.tick(clock())
    assert now_of(db, running).state is JobState.QUEUED


def test_an_attempt_past_its_timeout_fails_though_its_worker_is_alive(
    db: Database, rescuer: Rescuer, key_id: KeyId, clock: make.FakeClock
) -> None:
    job = send(db, key_id, timeout=timedelta(seconds=20))
    make.begin(db, make.claim(db, clock()), clock())

    rescuer.tick(clock.advance(21))

    failed = now_of(db, job)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.kind == "timeout"


def test_a_job_that_nobody_took_in_time_expires(
    db: Database, rescuer: Rescuer, key_id: KeyId, clock: make.FakeClock
) -> None:
    job = send(db, key_id, start_timeout=timedelta(seconds=5))
    patient = send(db, key_id)

    rescuer.tick(clock.advance(6))

    assert now_of(db, job).state is JobState.EXPIRED
    assert now_of(db, patient).state is JobState.QUEUED


def test_a_job_that_was_taken_in_time_does_not_expire_later(
    db: Database, rescuer: Rescuer, key_id: KeyId, clock: make.FakeClock
) -> None:
    job = send(db, key_id, start_timeout=timedelta(seconds=5))
    begun = make.begin(db, make.claim(db, clock()), clock())
    make.do(db, lambda tx: moves.requeue(tx, begun, run_at=clock()))

    rescuer.tick(clock.advance(6))

    assert now_of(db, job).state is JobState.QUEUED


def test_a_wish_that_is_not_heard_becomes_a_cancel(
    db: Database, rescuer: Rescuer, running: Job, key_id: KeyId, clock: make.FakeClock
) -> None:
    make.do(db, lambda tx: request_cancel(tx, running.id, Scope(key_id), clock()))
    heard = now_of(db, running)
    for _ in range(4):  # alive, and deaf
        clock.advance(16)
        told = Progress(stage="generate", fraction=0.1)
        heard = make.do(
            db,
            lambda tx, job=heard, told=told: moves.heartbeat(
                tx, job, told, now=clock(), lease=make.LEASE
            ),
        )

    rescuer.tick(clock())

    assert now_of(db, running).state is JobState.CANCELED


def test_a_lost_worker_of_an_unwanted_job_ends_it(
    db: Database, rescuer: Rescuer, running: Job, key_id: KeyId, clock: make.FakeClock
) -> None:
    make.do(db, lambda tx: request_cancel(tx, running.id, Scope(key_id), clock()))

    rescuer.tick(clock.advance(31))

    assert now_of(db, running).state is JobState.CANCELED


def test_a_heartbeat_between_judgement_and_sentence_saves_the_job(
    db: Database, rescuer: Rescuer, running: Job, clock: make.FakeClock
) -> None:
    judged = now_of(db, running)
    told = Progress(stage="generate", fraction=0.1)
    later = clock.advance(31)
    make.do(db, lambda tx: moves.heartbeat(tx, judged, told, now=later, lease=make.LEASE))

    assert rescuer._move(judged, rescuer._lease_expired(judged, later)) is False
    assert now_of(db, running).state is JobState.RUNNING


def test_a_clock_that_is_set_back_delays_no_claim_and_no_rescue(
    db: Database, rescuer: Rescuer, running: Job, key_id: KeyId, clock: make.FakeClock
) -> None:
    waiting = send(db, key_id)
    clock.advance(-3600)
    assert make.claim(db, clock()) is None

    rescuer.tick(clock())  # as after the grace that follows a jump

    assert now_of(db, running).state is JobState.QUEUED
    claimed = {make.claim(db, clock()).job.id for _ in range(2)}
    assert claimed == {waiting.id, running.id}


def test_a_heartbeat_after_the_clock_was_set_back_keeps_its_job(
    db: Database, rescuer: Rescuer, running: Job, clock: make.FakeClock
) -> None:
    clock.advance(-3600)
    told = Progress(stage="generate", fraction=0.1)
    make.do(db, lambda tx: moves.heartbeat(tx, running, told, now=clock(), lease=make.LEASE))

    rescuer.tick(clock())

    assert now_of(db, running).state is JobState.RUNNING
