from datetime import timedelta
from pathlib import Path

import pytest

from service import failpoint
from service.artifacts.files import Files
from service.domain import ids
from service.domain.attempt import MANIFEST, Failure, FailureKind, input_key, job_folder
from service.domain.clock import utc_now
from service.domain.event import DeliveryFilter
from service.domain.ids import JobId, KeyId
from service.domain.job import Idempotency, Job, JobState, Scope
from service.domain.limits import Limits
from service.domain.media import MediaRef
from service.domain.price import Charge
from service.domain.retention import SETTLE, RetentionPolicy
from service.failpoint import arm
from service.lifecycle import report
from service.lifecycle.jobs import request_cancel
from service.lifecycle.retention import Retention
from service.store import deliveries, idempotency, jobs, moves
from service.store.database import Database
from tests import make
from tests.make import submit

KEEPING = RetentionPolicy(
    videos=timedelta(days=7), jobs=timedelta(days=30), deliveries=timedelta(days=30)
)


@pytest.fixture
def artifacts(tmp_path: Path) -> Files:
    return Files(tmp_path / "artifacts")


@pytest.fixture
def retention(db: Database, artifacts: Files) -> Retention:
    return Retention(db, artifacts, KEEPING)


def put(artifacts: Files, key: str, folder: Path) -> None:
    source = folder / "source"
    source.write_bytes(b"x")
    artifacts.put(key, source, "video/mp4")


def finished(db: Database, key_id: KeyId, artifacts: Files, folder: Path, now: object) -> Job:
    """A success whose bytes lie beside those of an attempt that was lost."""
    make.do(db, lambda tx: submit(tx, make.submission(key_id), Limits(), now))  # type: ignore[arg-type]
    claimed = make.claim(db, now)  # type: ignore[arg-type]
    begun = make.begin(db, claimed, now, call_id=claimed.token)  # type: ignore[arg-type]
    put(artifacts, f"{begun.artifact_prefix}/video.mp4", folder)
    put(artifacts, f"{begun.artifact_prefix}/{MANIFEST}", folder)
    put(artifacts, f"{job_folder(begun.id)}/1/video.mp4", folder)
    done: Job = make.do(
        db,
        lambda tx: report.finish(
            tx,
            make.credentials(claimed),
            fence=begun.fence,
            outcome=make.outcome(begun),
            terms=make.TERMS,
            now=now,  # type: ignore[arg-type]
        ),
    )
    return done


def now_of(db: Database, job: Job) -> Job | None:
    return db.read(lambda tx: jobs.get(tx, job.id))


def test_bytes_of_attempts_that_did_not_win_go_after_an_hour(
    db: Database,
    key_id: KeyId,
    artifacts: Files,
    retention: Retention,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    job = finished(db, key_id, artifacts, tmp_path, clock())
    retention.tick(clock.advance(SETTLE.total_seconds() - 1))
    folder = job.artifact_prefix.rpartition("/")[2]
    assert artifacts.children(job_folder(job.id)) == ["1", folder]

    retention.tick(clock.advance(1))

    assert artifacts.children(job_folder(job.id)) == [folder]
    assert artifacts.path(f"{job.artifact_prefix}/video.mp4") is not None


def test_bytes_go_first_and_rows_later(
    db: Database,
    key_id: KeyId,
    artifacts: Files,
    retention: Retention,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    job = finished(db, key_id, artifacts, tmp_path, clock())
    retention.tick(clock.advance(SETTLE.total_seconds()))

    clock.now = make.START + KEEPING.videos
    retention.tick(clock())
    assert artifacts.children("jobs") == []
    assert now_of(db, job) is not None

    clock.now = make.START + KEEPING.jobs
    assert retention.tick(clock()) == 1
    assert now_of(db, job) is None
    assert retention.tick(clock()) == 0


def test_a_job_that_ended_without_a_video_keeps_no_bytes(
    db: Database,
    key_id: KeyId,
    artifacts: Files,
    retention: Retention,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    accepted = make.do(db, lambda tx: submit(tx, make.submission(key_id), Limits(), clock()))
    put(artifacts, f"{job_folder(accepted.job.id)}/2/video.mp4", tmp_path)
    make.do(db, lambda tx: request_cancel(tx, accepted.job.id, Scope(key_id), clock()))

    retention.tick(clock.advance(SETTLE.total_seconds()))

    assert artifacts.children(job_folder(accepted.job.id)) == []


def test_a_job_that_is_not_final_is_never_purged(
    db: Database, key_id: KeyId, retention: Retention, clock: make.FakeClock
) -> None:
    accepted = make.do(db, lambda tx: submit(tx, make.submission(key_id), Limits(), clock()))
    clock.now += timedelta(days=3650)

    assert retention.tick(clock()) == 0
    assert now_of(db, accepted.job) is not None


def test_a_crash_between_bytes_and_row_is_mended_by_the_next_tick(
    db: Database,
    key_id: KeyId,
    artifacts: Files,
    retention: Retention,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    class Crash(BaseException):
        pass

    def crash() -> None:
        raise Crash

    job = finished(db, key_id, artifacts, tmp_path, clock())
    clock.now += KEEPING.jobs
    arm("purge.bytes_gone", crash)
    with pytest.raises(Crash):
        retention.tick(clock())
    failpoint._actions.clear()
    assert now_of(db, job) is not None
    assert artifacts.children("jobs") == []

    retention.tick(clock())

    assert now_of(db, job) is None


def test_one_job_whose_bytes_cannot_be_deleted_holds_up_no_other(
    db: Database,
    key_id: KeyId,
    artifacts: Files,
    retention: Retention,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    first, second = (finished(db, key_id, artifacts, tmp_path, clock()) for _ in range(2))
    delete = artifacts.delete

    def refuse_first(prefix: str) -> None:
        if first.id in prefix:
            raise PermissionError(prefix)
        delete(prefix)

    artifacts.delete = refuse_first  # type: ignore[method-assign]
    clock.now += KEEPING.jobs

    retention.tick(clock())

    assert now_of(db, first) is not None
    assert now_of(db, second) is None


def test_bytes_of_a_job_that_is_no_more_are_collected(
    db: Database,
    key_id: KeyId,
    artifacts: Files,
    retention: Retention,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    job = finished(db, key_id, artifacts, tmp_path, clock())
    put(artifacts, "jobs/job_00000000000000000000000000/7/video.mp4", tmp_path)
    young = ids.new("job")  # of another database, perhaps: not ours to judge
    put(artifacts, f"jobs/{young}/7/video.mp4", tmp_path)
    put(artifacts, "jobs/notes.txt", tmp_path)

    retention.tick(clock())

    assert artifacts.children("jobs") == sorted([job.id, young, "notes.txt"])


def test_what_is_still_owed_is_never_forgotten(
    db: Database, key_id: KeyId, retention: Retention, clock: make.FakeClock
) -> None:
    asked = make.submission(key_id, webhook_url="https://hooks.example.com/")
    job = make.do(db, lambda tx: submit(tx, asked, Limits(), clock())).job
    make.do(db, lambda tx: request_cancel(tx, job.id, Scope(key_id), clock()))
    clock.now += KEEPING.deliveries + KEEPING.jobs

    retention.tick(clock())

    found = db.read(lambda tx: deliveries.page(tx, key_id, size=9, filters=DeliveryFilter()))
    assert [one.event for one in found] == ["job.canceled"]
    assert now_of(db, job) is None


def test_an_idempotency_key_is_forgotten_after_a_day(
    db: Database, key_id: KeyId, retention: Retention, clock: make.FakeClock
) -> None:
    named = Idempotency("order-1", b"a" * 32)
    asked = make.submission(key_id, idempotency=named)
    make.do(db, lambda tx: submit(tx, asked, Limits(), clock()))

    def kept() -> bool:
        name = idempotency.Name(key_id, "order-1")
        return bool(db.read(lambda tx: idempotency.find(tx, [name], now=make.START)))

    retention.tick(clock.advance(86_399))
    assert kept()
    retention.tick(clock.advance(1))
    assert not kept()


def test_a_retry_outlives_what_it_is_a_retry_of(
    db: Database,
    key_id: KeyId,
    artifacts: Files,
    retention: Retention,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    old = finished(db, key_id, artifacts, tmp_path, clock())
    asked = make.submission(key_id, retry_of=JobId(old.id))
    again = make.do(db, lambda tx: submit(tx, asked, Limits(), clock())).job
    clock.now += KEEPING.jobs

    retention.tick(clock())

    kept = now_of(db, again)
    assert kept is not None
    assert (kept.state, kept.retry_of) == (JobState.QUEUED, None)


def test_what_a_job_was_given_goes_with_its_clips(
    db: Database,
    key_id: KeyId,
    artifacts: Files,
    retention: Retention,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    job = finished(db, key_id, artifacts, tmp_path, clock())
    put(artifacts, input_key(job.id, "image"), tmp_path)
    retention.tick(clock.advance(SETTLE.total_seconds()))
    assert artifacts.children(f"inputs/{job.id}") == ["image"]  # as long as its video

    retention.tick(clock.advance(KEEPING.videos.total_seconds()))

    assert artifacts.children("inputs") == []
    assert now_of(db, job) is not None


@pytest.mark.parametrize("end", [JobState.CANCELED, JobState.FAILED, JobState.EXPIRED])
def test_what_a_job_without_a_video_was_given_goes_with_its_leftovers(
    db: Database,
    key_id: KeyId,
    artifacts: Files,
    retention: Retention,
    clock: make.FakeClock,
    tmp_path: Path,
    end: JobState,
) -> None:
    image = MediaRef(source="upload", media_type="image/png", size_bytes=1)
    asked = make.submission(key_id, request=make.request(image=image))
    job = make.do(db, lambda tx: submit(tx, asked, Limits(), clock())).job
    put(artifacts, input_key(job.id, "image"), tmp_path)
    failure = Failure(kind=FailureKind.USER, code="x", message="x")
    ways = {
        JobState.CANCELED: lambda tx: request_cancel(tx, job.id, Scope(key_id), clock()),
        JobState.FAILED: lambda tx: moves.fail(tx, job, failure, charge=Charge(clock())),
        JobState.EXPIRED: lambda tx: moves.expire(tx, job, now=clock()),
    }
    if end is JobState.FAILED:
        job = make.claim(db, clock()).job
    make.do(db, ways[end])

    retention.tick(clock.advance(SETTLE.total_seconds() - 1))
    while_it_may_be_retried = artifacts.children("inputs")
    counted = db.read(lambda tx: jobs.input_bytes(tx, key_id))
    retention.tick(clock.advance(1))

    assert (while_it_may_be_retried, counted) == ([job.id], 1)
    assert artifacts.children("inputs") == []
    assert db.read(lambda tx: jobs.input_bytes(tx, key_id)) == 0


def test_what_was_kept_for_a_job_that_never_was_goes_when_no_job_can_be_so_old(
    db: Database, key_id: KeyId, artifacts: Files, tmp_path: Path
) -> None:
    now = utc_now()
    waiting = make.do(db, lambda tx: submit(tx, make.submission(key_id), Limits(), now)).job
    never = JobId(ids.new("job"))
    for job_id in (waiting.id, never):
        put(artifacts, input_key(job_id, "image"), tmp_path)

    Retention(db, artifacts, KEEPING).tick(now + timedelta(days=29))
    young = artifacts.children("inputs")
    Retention(db, artifacts, KEEPING).tick(now + timedelta(days=31))

    assert young == sorted([waiting.id, never])
    assert artifacts.children("inputs") == [waiting.id]
