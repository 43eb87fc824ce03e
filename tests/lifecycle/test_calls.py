"""Jobs that are carried out by calls, with a dispatcher that a test plays by hand."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.artifacts.files import Files
from service.domain.attempt import (
    BEGUN_SIGN,
    Failure,
    FailureKind,
    Outcome,
    Profile,
    Ticket,
    lone_prefix,
)
from service.domain.call import CallEnd, CallStatus
from service.domain.errors import Lost, Unavailable
from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobState, ModelChoice, Scope
from service.domain.limits import Limits
from service.domain.models.catalog import SLATE
from service.domain.retry import MAX_LAPSED
from service.lifecycle.calls.calls import Calls
from service.lifecycle.claim import Claim
from service.lifecycle.jobs import request_cancel
from service.lifecycle.rescue import Rescuer
from service.store import jobs
from service.store.database import Database
from service.store.transaction import Transaction
from tests import make
from tests.conftest import connected
from tests.make import submit


class Played:
    """A Dispatcher whose calls do what the test says."""

    def __init__(self) -> None:
        self.sent: list[Ticket] = []
        self.looks: dict[str, CallStatus] = {}
        self.canceled: list[str] = []
        self.away = False

    def send(self, ticket: Ticket) -> str:
        self.sent.append(ticket)
        if self.away:
            raise Unavailable("Modal does not answer")
        return f"fc-{len(self.sent)}"

    def status(self, call_id: str) -> CallStatus:
        if self.away:
            raise Unavailable("Modal does not answer")
        return self.looks.get(call_id, "alive")

    def cancel(self, call_id: str) -> None:
        self.canceled.append(call_id)


@pytest.fixture
def modal() -> Played:
    return Played()


@pytest.fixture
def artifacts(tmp_path: Path) -> Files:
    return Files(tmp_path / "a")


@pytest.fixture
def calls(db: Database, modal: Played, artifacts: Files) -> Calls:
    return Calls(
        db=db,
        dispatcher=modal,
        artifacts=artifacts,
        cards={"slate": SLATE},
        terms=make.TERMS,
        max_active_per_key=100,
        max_calls=2,
        api_url="https://video.example.com",
    )


@pytest.fixture
def rescuer(db: Database, calls: Calls, artifacts: Files) -> Rescuer:
    return Rescuer(db, artifacts, make.TERMS, make.called(calls), make.LEASE)


def send(db: Database, key_id: KeyId, clock: make.FakeClock, **changes: object) -> Job:
    asked = make.submission(key_id, **changes)
    job: Job = make.do(db, lambda tx: submit(tx, asked, Limits(), clock())).job
    return job


def now_of(db: Database, job: Job) -> Job:
    found = db.read(lambda tx: jobs.get(tx, job.id))
    assert found is not None
    return found


def end(ticket: Ticket, **how: object) -> CallEnd:
    """What a call answers that never reached us."""
    values = {"job_id": ticket.job_id, "attempt": ticket.attempt, "fence": ticket.fence}
    return CallEnd(**{**values, "begun": False, **how})  # type: ignore[arg-type]


def outcome_under(job: Job, prefix: str) -> Outcome:
    made = make.outcome(job)
    facts = made.facts.model_dump()
    for artifact in facts["artifacts"].values():
        artifact["key"] = f"{prefix}/{artifact['key'].rpartition('/')[2]}"
    return Outcome.model_validate({**made.model_dump(), "facts": facts})


def test_calls_are_started_while_there_is_room(
    db: Database, key_id: KeyId, calls: Calls, modal: Played, clock: make.FakeClock
) -> None:
    sent = [send(db, key_id, clock) for _ in range(3)]

    assert calls.start_due(clock()) == 2
    assert calls.start_due(clock()) == 0

    assert [ticket.job_id for ticket in modal.sent] == [job.id for job in sent[:2]]
    assert modal.sent[0].api_url == "https://video.example.com"
    assert now_of(db, sent[2]).state is JobState.QUEUED


def test_processes_that_look_at_once_take_the_room_once(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    clock: make.FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(5):
        send(db, key_id, clock)
    other, candidates = replace(calls), jobs.candidates

    def meanwhile(tx: Transaction, *given: Any, **more: Any) -> list[Any]:
        monkeypatch.setattr(jobs, "candidates", candidates)
        other.tick(clock())  # after we saw room
        return candidates(tx, *given, **more)

    monkeypatch.setattr(jobs, "candidates", meanwhile)

    calls.tick(clock())

    assert len(modal.sent) == calls.max_calls == 2


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_the_room_is_counted_by_one_process_at_a_time(
    db: Database, database_url: str, key_id: KeyId, calls: Calls, clock: make.FakeClock
) -> None:
    """On Postgres, where several write at once."""
    for _ in range(12):
        send(db, key_id, clock)
    others = [Database(database_url, lambda topics: None) for _ in range(4)]
    processes = [replace(calls, db=each) for each in others]

    with ThreadPoolExecutor(len(processes)) as pool:
        started = list(pool.map(lambda each: each.start_due(clock()), processes))
    for each in others:
        each.close()

    assert sum(started) == calls.max_calls == 2


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_process_that_stands_still_while_it_counts_holds_up_no_other(
    db: Database, database_url: str, key_id: KeyId, calls: Calls, clock: make.FakeClock
) -> None:
    send(db, key_id, clock)
    with connected(database_url) as still:
        still.exec_driver_sql("SELECT pg_advisory_lock(hashtextextended('calls:slate', 0))")

        assert calls.start_due(clock()) == 0
        send(db, key_id, clock)

    assert calls.start_due(clock()) == 2


def test_a_cancel_is_said_again_while_nothing_can_be_claimed(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    clock: make.FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Say because the database is away: a GPU is paid for all the while."""
    job = send(db, key_id, clock)
    calls.tick(clock())
    calls.stop(now_of(db, job), clock())

    def away(now: object) -> int:
        raise Unavailable("as planned")

    monkeypatch.setattr(calls, "start_due", away)
    with pytest.raises(Unavailable):
        calls.tick(clock.advance(31))

    assert modal.canceled == ["fc-1"] * 2


def test_a_call_whose_start_was_not_answered_may_begin_or_not_but_only_one_does(
    db: Database, key_id: KeyId, calls: Calls, modal: Played, clock: make.FakeClock
) -> None:
    job = send(db, key_id, clock)
    modal.away = True
    assert calls.start_due(clock()) == 0
    assert now_of(db, job).state is JobState.QUEUED

    modal.away = False
    calls.start_due(clock.advance(31))

    assert now_of(db, job).state is JobState.STARTING
    assert now_of(db, job).max_attempts == 4  # the start that failed is not counted
    first, second = modal.sent
    assert first.token != second.token
    assert first.fence < second.fence


def test_a_silent_call_that_is_alive_is_waited_for(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())

    for _ in range(19):  # nearly ten minutes of cold start
        rescuer.tick(clock.advance(31))

    assert now_of(db, job).state is JobState.STARTING
    assert len(modal.sent) == 1


def test_a_call_that_never_reached_us_is_believed_by_its_answer(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    artifacts: Files,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    (ticket,) = modal.sent
    own = lone_prefix(job.id, ticket.fence, "fc-1")
    make.keep_video(artifacts, tmp_path, own)
    modal.looks["fc-1"] = end(ticket, outcome=outcome_under(now_of(db, job), own))

    rescuer.tick(clock.advance(31))

    done = now_of(db, job)
    assert done.state is JobState.SUCCEEDED
    assert done.result is not None
    assert done.result.video.key.startswith(own)


def test_a_failure_that_only_the_call_tells_counts_like_any_other(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    modal.looks["fc-1"] = end(modal.sent[0], failure=make.failure(FailureKind.USER))

    rescuer.tick(clock.advance(31))

    assert now_of(db, job).state is JobState.FAILED


def test_a_call_that_died_is_a_lost_worker(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    begin(db, modal.sent[0], clock)
    modal.looks["fc-1"] = "died"

    rescuer.tick(clock.advance(31))

    again = now_of(db, job)
    assert (again.state, again.attempt) == (JobState.QUEUED, 1)


def test_a_call_whose_answer_has_expired_fails_its_job(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    begin(db, modal.sent[0], clock)
    modal.looks["fc-1"] = "unknown"

    rescuer.tick(clock.advance(31))

    failed = now_of(db, job)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.code == "result_lost"


@pytest.mark.parametrize("look", ["died", "timed out", "unknown"])
@pytest.mark.parametrize("begun", [True, False])
def test_the_clip_of_a_call_without_an_answer_is_found_by_its_manifest(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    artifacts: Files,
    clock: make.FakeClock,
    tmp_path: Path,
    look: CallStatus,
    begun: bool,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    (ticket,) = modal.sent
    if begun:
        begin(db, ticket, clock)
    held = now_of(db, job)
    prefix = held.artifact_prefix if begun else lone_prefix(job.id, ticket.fence, "fc-1")
    make.leave_manifest(artifacts, tmp_path, prefix, outcome_under(held, prefix).model_dump_json())
    modal.looks["fc-1"] = look

    rescuer.tick(clock.advance(31))

    done = now_of(db, job)
    assert done.state is JobState.SUCCEEDED
    assert done.result is not None
    assert done.result.video.key.startswith(f"{prefix}/")


def test_a_platform_that_cannot_be_asked_loses_no_job(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    begin(db, modal.sent[0], clock)
    modal.away = True

    for _ in range(10):
        rescuer.tick(clock.advance(31))

    assert now_of(db, job).state is JobState.RUNNING


def test_that_an_older_container_failed_ends_no_job(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    first = begin(db, modal.sent[0], clock)
    second = begin(db, modal.sent[0], clock)
    modal.looks["fc-1"] = end(
        modal.sent[0], fence=first.fence, begun=True, failure=make.failure(FailureKind.USER)
    )

    rescuer.tick(clock.advance(31))

    assert second.fence > first.fence
    assert now_of(db, job).state is JobState.QUEUED  # lost, not failed


def test_the_clip_of_an_older_container_is_the_attempts(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    artifacts: Files,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    """Its finish was not heard, and its call was run once more meanwhile."""
    job = send(db, key_id, clock)
    calls.start_due(clock())
    first = begin(db, modal.sent[0], clock)
    begin(db, modal.sent[0], clock)
    make.keep_video(artifacts, tmp_path, first.artifact_prefix)
    modal.looks["fc-1"] = end(
        modal.sent[0], fence=first.fence, begun=True, outcome=make.outcome(first)
    )

    rescuer.tick(clock.advance(31))

    done = now_of(db, job)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
    assert done.result is not None
    assert done.result.video.key.startswith(f"{first.artifact_prefix}/")


@pytest.mark.parametrize("how", [{"failure": make.failure(FailureKind.USER)}, {}], ids=str)
def test_that_a_worker_failed_which_did_not_hear_that_it_had_begun_ends_no_job(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
    how: dict[str, Any],
) -> None:
    """Another container of its call may have begun, and be at work."""
    job = send(db, key_id, clock)
    calls.start_due(clock())
    begin(db, modal.sent[0], clock)
    modal.looks["fc-1"] = end(modal.sent[0], **how)

    rescuer.tick(clock.advance(31))

    now = now_of(db, job)
    assert (now.state, now.max_attempts) == (JobState.QUEUED, 3)  # lost, and counted


def test_the_clip_of_a_worker_that_did_not_hear_that_it_had_begun_counts(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    artifacts: Files,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    (ticket,) = modal.sent
    begun = begin(db, ticket, clock)  # heard, and its answer lost on the way
    own = lone_prefix(job.id, ticket.fence, "fc-1")
    make.keep_video(artifacts, tmp_path, own)
    modal.looks["fc-1"] = end(ticket, outcome=outcome_under(begun, own))

    rescuer.tick(clock.advance(31))

    done = now_of(db, job)
    assert begun.fence > ticket.fence
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
    assert done.result is not None
    assert done.result.video.key.startswith(f"{own}/")


@pytest.mark.parametrize("begins", [1, 2, 3])
def test_the_clip_of_such_a_worker_is_found_when_its_answer_is_lost_too(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    artifacts: Files,
    clock: make.FakeClock,
    tmp_path: Path,
    begins: int,
) -> None:
    """Each begin that was heard and not answered is said once more, and moves the fence on."""
    job = send(db, key_id, clock)
    calls.start_due(clock())
    for _ in range(begins):
        begun = begin(db, modal.sent[0], clock)
    own = lone_prefix(job.id, modal.sent[0].fence, "fc-1")
    make.leave_manifest(artifacts, tmp_path, own, outcome_under(begun, own).model_dump_json())
    modal.looks["fc-1"] = "died"

    rescuer.tick(clock.advance(31))

    assert now_of(db, job).state is JobState.SUCCEEDED


@pytest.mark.parametrize("name", ["video.mp4", "thumbnail.jpg", "last_frame.png"])
@pytest.mark.parametrize("content", [b"abd", b"ab", None])
def test_an_answer_whose_bytes_are_others_is_not_adopted(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    artifacts: Files,
    clock: make.FakeClock,
    tmp_path: Path,
    name: str,
    content: bytes | None,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    begun = begin(db, modal.sent[0], clock)
    make.keep_video(artifacts, tmp_path, begun.artifact_prefix)
    artifacts.delete(f"{begun.artifact_prefix}/{name}")
    if content is not None:
        (tmp_path / "other").write_bytes(content)
        artifacts.put(f"{begun.artifact_prefix}/{name}", tmp_path / "other", "video/mp4")
    told = end(modal.sent[0], fence=begun.fence, begun=True, outcome=make.outcome(begun))
    modal.looks["fc-1"] = told

    rescuer.tick(clock.advance(31))

    assert now_of(db, job).state is JobState.QUEUED


def test_a_call_that_began_before_an_older_database_was_restored_is_believed_by_its_answer(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    artifacts: Files,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    (ticket,) = modal.sent
    before = now_of(db, job).model_copy(
        update={"fence": ticket.fence + 1, "folder_salt": "0a1b2c3d"}
    )
    make.keep_video(artifacts, tmp_path, before.artifact_prefix)
    told = end(ticket, fence=before.fence, begun=True, outcome=make.outcome(before))
    modal.looks["fc-1"] = told

    rescuer.tick(clock.advance(31))

    done = now_of(db, job)
    assert done.result is not None
    assert done.result.video.key.startswith(f"{before.artifact_prefix}/")


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("name", ["video", "thumbnail", "last_frame"])
def test_bytes_that_lie_elsewhere_are_adopted_from_no_answer(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
    name: str,
    begun: bool,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    (ticket,) = modal.sent
    held = begin(db, ticket, clock) if begun else now_of(db, job)
    own = held.artifact_prefix if begun else lone_prefix(job.id, ticket.fence, "fc-1")
    facts = outcome_under(held, own).model_dump()
    facts["facts"]["artifacts"][name]["key"] = f"jobs/job_of_another_tenant/3/{name}"
    outcome = Outcome.model_validate(facts)
    modal.looks["fc-1"] = end(ticket, fence=held.fence, begun=begun, outcome=outcome)

    rescuer.tick(clock.advance(31))

    failed = now_of(db, job)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.code == "foreign_result"


def test_a_clip_that_was_not_asked_for_is_adopted_from_no_answer(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    (ticket,) = modal.sent
    own = lone_prefix(job.id, ticket.fence, "fc-1")
    outcome = outcome_under(now_of(db, job), own)
    facts = outcome.facts.model_copy(update={"num_frames": outcome.facts.num_frames + 8})
    modal.looks["fc-1"] = end(ticket, outcome=outcome.model_copy(update={"facts": facts}))

    rescuer.tick(clock.advance(31))

    assert now_of(db, job).state is JobState.FAILED


def test_calls_that_end_without_a_word_end_their_job(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
) -> None:
    """Say because another call holds each of them: what is refused is not called for ever."""
    job = send(db, key_id, clock)

    for _ in range(3 * MAX_LAPSED):
        calls.start_due(clock())
        modal.looks |= {f"fc-{n}": end(sent) for n, sent in enumerate(modal.sent, 1)}
        rescuer.tick(clock.advance(31))

    failed = now_of(db, job)
    assert len(modal.sent) == MAX_LAPSED
    assert failed.error is not None
    assert failed.error.code == "never_begun"


@pytest.mark.parametrize(
    ("start_timeout", "state"),
    [(timedelta(seconds=60), JobState.EXPIRED), (None, JobState.FAILED)],
)
@pytest.mark.parametrize(
    ("of", "fault"),
    [
        ("bytes", PermissionError("as planned")),
        ("bytes", Unavailable("as planned")),
        ("call", Unavailable("as planned")),
    ],
)
def test_a_start_that_can_never_be_judged_gives_its_place_up(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    artifacts: Files,
    clock: make.FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    start_timeout: timedelta | None,
    state: JobState,
    fault: Exception,
    of: str,
) -> None:
    """As of a bucket or Volume that refuses us, or of one call: nobody knows, and nobody will."""

    def refuse(*_: object) -> None:
        raise fault

    monkeypatch.setattr(modal, "status", refuse if of == "call" else lambda _: "died")
    monkeypatch.setattr(artifacts, "children", refuse)
    calls.max_start = timedelta(seconds=60)
    job = send(db, key_id, clock, start_timeout=start_timeout, timeout=timedelta(seconds=30))

    for _ in range(MAX_LAPSED * 4):
        calls.start_due(clock())
        rescuer.tick(clock.advance(31))

    assert now_of(db, job).state is state
    assert len(modal.sent) == (1 if start_timeout else MAX_LAPSED)


@pytest.mark.parametrize("fault", [PermissionError("as planned"), Unavailable("as planned")])
def test_what_cannot_be_judged_may_work_as_long_as_it_was_given(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
) -> None:
    """Both the one that has begun, and the one that may have and was not heard."""

    def refuse(*_: object) -> None:
        raise fault

    monkeypatch.setattr(modal, "status", refuse)
    working, starting = (send(db, key_id, clock, timeout=timedelta(hours=1)) for _ in range(2))
    calls.start_due(clock())
    begin(db, modal.sent[0], clock)

    for _ in range(10):  # 52 minutes
        rescuer.tick(clock.advance(310))

    assert now_of(db, working).state is JobState.RUNNING
    assert now_of(db, starting).state is JobState.STARTING


def test_a_job_that_waits_too_long_for_a_gpu_expires_and_its_call_is_stopped(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
) -> None:
    job = send(db, key_id, clock, start_timeout=timedelta(seconds=60))
    calls.start_due(clock())

    rescuer.tick(clock.advance(31))
    assert now_of(db, job).state is JobState.STARTING
    # At once: a job that were queued for a moment would be claimed again.
    over = calls.check(now_of(db, job), clock.advance(31))

    assert over == now_of(db, job)
    assert over.state is JobState.EXPIRED
    assert modal.canceled == ["fc-1"]


def test_a_call_that_runs_past_its_jobs_timeout_is_stopped(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
) -> None:
    job = send(db, key_id, clock, timeout=timedelta(seconds=20))
    calls.start_due(clock())
    begin(db, modal.sent[0], clock)

    rescuer.tick(clock.advance(21))

    assert now_of(db, job).state is JobState.FAILED
    assert modal.canceled == ["fc-1"]


def test_the_call_of_a_canceled_job_can_be_stopped(
    db: Database, key_id: KeyId, calls: Calls, modal: Played, clock: make.FakeClock
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())

    canceled = make.do(db, lambda tx: request_cancel(tx, job.id, Scope(key_id), clock()))
    calls.stop(canceled, clock())

    assert modal.canceled == ["fc-1"]


def test_calls_that_never_begin_end_their_job(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
) -> None:
    """As when a container dies on import: Modal starts it again for ever, and the call waits."""
    job = send(db, key_id, clock)

    for _ in range(MAX_LAPSED * 21):
        calls.start_due(clock())
        rescuer.tick(clock.advance(31))

    failed = now_of(db, job)
    assert (failed.state, failed.attempt) == (JobState.FAILED, MAX_LAPSED)
    assert failed.error is not None
    assert (failed.error.code, failed.error.retryable) == ("never_begun", True)
    assert modal.canceled == [f"fc-{n}" for n in range(1, MAX_LAPSED + 1)]


def test_a_platform_that_takes_no_calls_fails_no_job_and_is_left_alone_for_a_while(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    clock: make.FakeClock,
) -> None:
    job = send(db, key_id, clock)
    modal.away = True

    # However patient we are with calls.
    calls = replace(calls, running_lease=timedelta(hours=1))
    for _ in range(3 * 30):
        calls.start_due(clock.advance(1))
        rescuer.tick(clock())

    assert len(modal.sent) == 3
    assert now_of(db, job).state is JobState.QUEUED


def test_a_worker_that_cannot_be_heard_is_waited_for_when_it_left_a_sign(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    artifacts: Files,
    clock: make.FakeClock,
    tmp_path: Path,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    sign = tmp_path / "sign"
    sign.touch()
    prefix = lone_prefix(job.id, modal.sent[0].fence, "fc-1")
    artifacts.put(f"{prefix}/{BEGUN_SIGN}", sign, "text/plain")

    for _ in range(40):
        rescuer.tick(clock.advance(31))
    after_twenty_minutes = now_of(db, job)
    for _ in range(40):
        rescuer.tick(clock.advance(31))

    assert (after_twenty_minutes.state, after_twenty_minutes.attempt) == (JobState.STARTING, 1)
    assert now_of(db, job).state is JobState.QUEUED  # its own timeout is over
    assert modal.canceled == ["fc-1"]


def test_a_cancel_is_said_again_until_the_call_has_ended(
    db: Database, key_id: KeyId, calls: Calls, modal: Played, clock: make.FakeClock
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    calls.stop(now_of(db, job), clock())

    calls.tick(clock.advance(31))
    modal.away = True
    calls.tick(clock.advance(31))
    modal.away = False
    modal.looks["fc-1"] = "died"
    calls.tick(clock.advance(31))
    calls.tick(clock.advance(31))

    assert modal.canceled == ["fc-1"] * 3


def test_what_was_given_up_before_a_restart_is_stopped_after_it(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    artifacts: Files,
    clock: make.FakeClock,
) -> None:
    job = send(db, key_id, clock)
    calls.start_due(clock())
    make.do(db, lambda tx: request_cancel(tx, job.id, Scope(key_id), clock()))

    restarted = replace(calls)
    restarted.tick(clock.advance(31))

    assert modal.canceled == ["fc-1"]


def begin(db: Database, ticket: Ticket, clock: make.FakeClock, call_id: str = "fc-1") -> Job:
    """The worker's first act, by the call that the dispatcher noted."""
    claimed = Claim(now_of_id(db, ticket.job_id), ticket.token)
    return make.begin(db, claimed, clock(), call_id=call_id)


def now_of_id(db: Database, job_id: str) -> Job:
    found = db.read(lambda tx: jobs.get(tx, job_id))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_a_call_that_gets_no_gpu_in_time_is_ended_and_the_next_model_is_called(
    db: Database, key_id: KeyId, calls: Calls, modal: Played, clock: make.FakeClock
) -> None:
    calls.cards["second"] = SLATE.model_copy(update={"name": "second"})
    other = ModelChoice(request=make.request(model="second"), expected_ms=1)
    job = send(db, key_id, clock, start_timeout=timedelta(seconds=60), fallbacks=(other,))
    calls.tick(clock())
    (first,), starting = modal.sent, now_of(db, job)

    handed_on = calls.check(starting, clock.advance(61))  # alive, and not begun
    assert handed_on is not None
    assert (handed_on.state, handed_on.request.model) == (JobState.QUEUED, "second")
    calls.tick(clock())

    second = modal.sent[1]
    assert "fc-1" in modal.canceled
    assert (second.request.model, second.card.name) == ("second", "second")
    assert second.fence > first.fence
    now = now_of(db, job)
    assert (now.state, now.fell_back[0].code) == (JobState.STARTING, "not_started")
    # The first call wakes up after all.
    with pytest.raises(Lost):
        make.begin(db, Claim(starting, first.token), clock(), call_id="fc-1")


def test_a_call_is_told_in_which_memory_to_work(
    db: Database, key_id: KeyId, calls: Calls, modal: Played, clock: make.FakeClock
) -> None:
    send(db, key_id, clock)
    calls.tick(clock())
    (first,) = modal.sent
    failed = Failure(kind=FailureKind.OOM, code="out_of_memory", message="too large")
    modal.looks["fc-1"] = end(first, failure=failed)
    starting = db.read(lambda tx: jobs.get(tx, JobId(first.job_id)))
    assert starting is not None

    calls.check(starting, clock.advance(31))
    calls.tick(clock())

    assert [ticket.profile for ticket in modal.sent] == [Profile.FULL, Profile.SMALL]


def test_a_model_that_the_platform_refuses_holds_up_no_other(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    clock: make.FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls.cards = {"gone": SLATE.model_copy(update={"name": "gone"}), **calls.cards}
    refused = [send(db, key_id, clock, request=make.request(model="gone")) for _ in range(3)]
    other = send(db, key_id, clock)
    spawn = modal.send

    def spawned(ticket: Ticket) -> str:
        if ticket.request.model == "gone":
            raise Unavailable("no worker for gone is deployed")
        return spawn(ticket)

    monkeypatch.setattr(modal, "send", spawned)

    calls.start_due(clock())

    assert [ticket.job_id for ticket in modal.sent] == [other.id]
    assert {now_of(db, job).state for job in refused} == {JobState.QUEUED}


def test_a_call_whose_bytes_cannot_be_read_holds_up_no_other(
    db: Database,
    key_id: KeyId,
    calls: Calls,
    modal: Played,
    rescuer: Rescuer,
    artifacts: Files,
    clock: make.FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    unreadable, died = send(db, key_id, clock), send(db, key_id, clock)
    calls.start_due(clock())
    modal.looks = {"fc-1": "died", "fc-2": "died"}
    own = lone_prefix(unreadable.id, modal.sent[0].fence, "fc-1")
    make.leave_manifest(artifacts, tmp_path, own, "")
    late = send(db, key_id, clock, start_timeout=timedelta(seconds=20))
    found = artifacts.path

    def path(key: str) -> Path | None:
        if unreadable.id in key:
            raise PermissionError("as planned")
        return found(key)

    monkeypatch.setattr(artifacts, "path", path)

    rescuer.tick(clock.advance(31))

    assert now_of(db, unreadable).state is JobState.STARTING
    assert now_of(db, died).state is JobState.QUEUED
    assert now_of(db, late).state is JobState.EXPIRED
