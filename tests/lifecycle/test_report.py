import pytest

from service.domain.attempt import Failure, FailureKind, Progress
from service.domain.errors import Lost, NotFound, RequestRefused
from service.domain.ids import KeyId
from service.domain.job import Job, JobState, Scope
from service.domain.limits import Limits
from service.domain.price import Charge
from service.domain.retry import MAX_RESTARTS
from service.lifecycle import report
from service.lifecycle.claim import Claim
from service.lifecycle.jobs import request_cancel
from service.lifecycle.report import Credentials
from service.store import attempts, jobs, moves
from service.store.database import Database
from tests import make
from tests.make import submit

NOW = make.START


@pytest.fixture
def claimed(db: Database, key_id: KeyId) -> Claim:
    make.do(db, lambda tx: submit(tx, make.submission(key_id), Limits(), NOW))
    found: Claim = make.claim(db, NOW)
    return found


def progress(db: Database, claimed: Claim, fence: int) -> Job:
    told = Progress(stage="generate", fraction=0.5)
    job: Job = make.do(
        db,
        lambda tx: report.progress(
            tx, make.credentials(claimed), fence=fence, update=told, lease=make.LEASE, now=NOW
        ),
    )
    return job


def finish(db: Database, claimed: Claim, job: Job) -> Job:
    said = make.outcome(job)
    done: Job = make.do(
        db,
        lambda tx: report.finish(
            tx,
            make.credentials(claimed),
            fence=job.fence,
            outcome=said,
            terms=make.TERMS,
            now=NOW,
        ),
    )
    return done


def fail(db: Database, claimed: Claim, fence: int, kind: FailureKind) -> Job:
    failure = Failure(kind=kind, code="x", message="y")
    job: Job = make.do(
        db,
        lambda tx: report.fail(
            tx, make.credentials(claimed), fence=fence, failure=failure, terms=make.TERMS, now=NOW
        ),
    )
    return job


def test_the_straight_way(db: Database, claimed: Claim) -> None:
    assert claimed.job.state is JobState.STARTING
    begun = make.begin(db, claimed, NOW)
    assert (begun.state, begun.fence) == (JobState.RUNNING, claimed.job.fence + 1)
    assert progress(db, claimed, begun.fence).progress == 0.5

    done = finish(db, claimed, begun)

    assert (done.state, done.progress, done.fence) == (JobState.SUCCEEDED, 1.0, begun.fence)
    assert done.expires_at == NOW + make.TERMS.retention.videos
    ended = db.read(lambda tx: attempts.get(tx, done.id, 1))
    assert ended.outcome == "succeeded"


def test_a_begin_whose_answer_was_lost_may_be_said_again(db: Database, claimed: Claim) -> None:
    first = make.begin(db, claimed, NOW)
    again = make.begin(db, claimed, NOW)

    assert again.fence == first.fence + 1
    with pytest.raises(Lost):
        progress(db, claimed, first.fence)
    assert progress(db, claimed, again.fence)


def test_a_worker_that_begins_again_and_again_after_reports_has_died_at_work(
    db: Database, claimed: Claim
) -> None:
    for _ in range(MAX_RESTARTS + 1):
        begun = make.begin(db, claimed, NOW)
        progress(db, claimed, begun.fence)

    given_up = make.begin(db, claimed, NOW)

    assert (given_up.state, given_up.attempt) == (JobState.QUEUED, 1)
    with pytest.raises(Lost):
        progress(db, claimed, begun.fence)


def test_a_worker_that_only_missed_the_answers_to_its_begin_is_not_given_up(
    db: Database, claimed: Claim
) -> None:
    begun = [make.begin(db, claimed, NOW) for _ in range(3 * MAX_RESTARTS)]

    assert {job.state for job in begun} == {JobState.RUNNING}


def test_a_claim_that_was_given_up_cannot_begin_the_next_one(db: Database, claimed: Claim) -> None:
    moved = make.do(db, lambda tx: moves.release(tx, claimed.job, run_at=NOW, charge=Charge(NOW)))
    again = make.do(db, lambda tx: moves.claim(tx, moved, lease_until=NOW + make.LEASE))

    assert (again.state, again.attempt) == (JobState.STARTING, 2)
    with pytest.raises(Lost):
        make.begin(db, claimed, NOW)  # its attempt is still open, but its fence is old


def test_another_call_cannot_begin_a_taken_attempt(db: Database, claimed: Claim) -> None:
    make.begin(db, claimed, NOW, call_id="call-1")

    with pytest.raises(Lost):
        make.begin(db, claimed, NOW, call_id="call-2")


def test_a_finish_whose_answer_was_lost_may_be_said_again(db: Database, claimed: Claim) -> None:
    begun = make.begin(db, claimed, NOW)

    assert finish(db, claimed, begun) == finish(db, claimed, begun)


def test_a_finish_is_answered_again_only_to_the_worker_that_finished(
    db: Database, claimed: Claim
) -> None:
    begun = make.begin(db, claimed, NOW)
    finish(db, claimed, begun)
    stranger = Claim(claimed.job, "guess")
    stale = begun.model_copy(update={"fence": begun.fence - 1})

    with pytest.raises(NotFound):
        finish(db, stranger, begun)
    with pytest.raises(Lost):
        finish(db, claimed, stale)


@pytest.mark.parametrize("change", [{"num_frames": 10**6}, {"width": 66}, {"fps": 13}])
def test_a_worker_cannot_report_what_was_not_asked_for(
    db: Database, claimed: Claim, change: dict[str, int]
) -> None:
    begun = make.begin(db, claimed, NOW)
    other = begun.model_copy(update={"request": make.request(**change)})

    with pytest.raises(RequestRefused, match="as requested"):
        finish(db, claimed, other)


def test_only_the_right_token_may_report(db: Database, claimed: Claim) -> None:
    wrong = Credentials(claimed.job.id, 1, "guess")

    with pytest.raises(NotFound):
        make.do(
            db,
            lambda tx: report.begin(
                tx, wrong, call_id="c", lease=make.LEASE, terms=make.TERMS, now=NOW
            ),
        )


def test_a_zombie_can_change_nothing(db: Database, claimed: Claim) -> None:
    old = make.begin(db, claimed, NOW)
    make.do(db, lambda tx: moves.requeue(tx, old, run_at=NOW))  # as if rescued
    make.do(db, lambda tx: attempts.end(tx, old, outcome="failed", charge=Charge(NOW)))
    newer = make.claim(db, NOW)
    make.begin(db, newer, NOW, call_id="call-2")
    before = db.read(lambda tx: jobs.get(tx, old.id))

    for act in (
        lambda: make.begin(db, claimed, NOW),
        lambda: progress(db, claimed, old.fence),
        lambda: finish(db, claimed, old),
        lambda: fail(db, claimed, old.fence, FailureKind.INTERNAL),
    ):
        with pytest.raises(Lost):
            act()

    assert db.read(lambda tx: jobs.get(tx, old.id)) == before


def test_a_worker_cannot_name_bytes_of_another_fence(db: Database, claimed: Claim) -> None:
    begun = make.begin(db, claimed, NOW)
    foreign = make.outcome(begun.model_copy(update={"fence": 1}))

    with pytest.raises(RequestRefused, match="must lie"):
        make.do(
            db,
            lambda tx: report.finish(
                tx,
                make.credentials(claimed),
                fence=begun.fence,
                outcome=foreign,
                terms=make.TERMS,
                now=NOW,
            ),
        )


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (FailureKind.USER, JobState.FAILED),
        (FailureKind.INTERNAL, JobState.FAILED),
        (FailureKind.OOM, JobState.QUEUED),  # for the same model in less memory
        (FailureKind.TRANSIENT, JobState.QUEUED),
    ],
)
def test_the_kind_of_a_failure_decides(
    db: Database, claimed: Claim, kind: FailureKind, state: JobState
) -> None:
    begun = make.begin(db, claimed, NOW)

    assert fail(db, claimed, begun.fence, kind).state is state


def test_a_transient_failure_is_tried_three_times(db: Database, claimed: Claim) -> None:
    states = []
    now = NOW
    for _ in range(3):
        begun = make.begin(db, claimed, now, call_id=f"call-{claimed.job.attempt}")
        job = fail(db, claimed, begun.fence, FailureKind.TRANSIENT)
        states.append(job.state)
        now = job.run_at
        claimed = make.claim(db, now) or claimed

    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    assert job.error is not None
    assert job.error.attempt == 3


def test_a_fault_of_a_machine_costs_the_job_none_of_its_attempts_and_ends_it_at_last(
    db: Database, claimed: Claim
) -> None:
    states = []
    now = NOW
    for kind in [FailureKind.TRANSIENT, FailureKind.TRANSIENT, *[FailureKind.MACHINE] * 10]:
        begun = make.begin(db, claimed, now, call_id=f"call-{claimed.job.attempt}")
        job = fail(db, claimed, begun.fence, kind)
        states.append(job.state)
        now = job.run_at
        claimed = make.claim(db, now) or claimed

    # The third attempt of three is there until the job itself has used it.
    assert states == [JobState.QUEUED] * 11 + [JobState.FAILED]
    assert job.error is not None
    assert (job.error.kind, job.error.retryable) == (FailureKind.MACHINE, True)


def release(db: Database, claimed: Claim, fence: int) -> Job:
    told = make.credentials(claimed)
    job: Job = make.do(
        db, lambda tx: report.release(tx, told, fence=fence, terms=make.TERMS, now=NOW)
    )
    return job


def test_an_attempt_that_is_given_back_is_not_counted(db: Database, claimed: Claim) -> None:
    for round_ in range(5):  # more often than attempts may fail
        begun = make.begin(db, claimed, NOW, call_id=f"call-{round_}")
        assert release(db, claimed, begun.fence).state is JobState.QUEUED
        with pytest.raises(Lost):
            release(db, claimed, begun.fence)
        claimed = make.claim(db, NOW)

    begun = make.begin(db, claimed, NOW, call_id="last")
    assert fail(db, claimed, begun.fence, FailureKind.TRANSIENT).state is JobState.QUEUED


def test_an_unwanted_attempt_that_is_given_back_is_canceled(
    db: Database, claimed: Claim, key_id: KeyId
) -> None:
    begun = make.begin(db, claimed, NOW)
    make.do(db, lambda tx: request_cancel(tx, begun.id, Scope(key_id), NOW))

    assert release(db, claimed, begun.fence).state is JobState.CANCELED


def test_a_running_job_hears_of_a_wish_to_cancel_at_its_next_report(
    db: Database, claimed: Claim, key_id: KeyId
) -> None:
    begun = make.begin(db, claimed, NOW)

    wished = make.do(db, lambda tx: request_cancel(tx, begun.id, Scope(key_id), NOW))
    heard = progress(db, claimed, begun.fence)
    ended = fail(db, claimed, begun.fence, FailureKind.CANCELED)

    assert wished.state is JobState.RUNNING
    assert heard.cancel_requested_at == NOW
    assert ended.state is JobState.CANCELED


def test_what_is_finished_before_the_cancel_is_heard_is_kept(
    db: Database, claimed: Claim, key_id: KeyId
) -> None:
    begun = make.begin(db, claimed, NOW)
    make.do(db, lambda tx: request_cancel(tx, begun.id, Scope(key_id), NOW))

    done = finish(db, claimed, begun)

    assert done.state is JobState.SUCCEEDED
    assert done.cancel_requested_at == NOW


def test_a_canceled_start_is_lost_to_its_worker(
    db: Database, claimed: Claim, key_id: KeyId
) -> None:
    canceled = make.do(db, lambda tx: request_cancel(tx, claimed.job.id, Scope(key_id), NOW))

    assert canceled.state is JobState.CANCELED
    with pytest.raises(Lost):
        make.begin(db, claimed, NOW)
