"""Another model takes a job over, on both databases."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.artifacts.files import Files
from service.domain.attempt import Failure, FailureKind, Profile
from service.domain.errors import Lost
from service.domain.ids import KeyId
from service.domain.job import MAX_ATTEMPTS, Change, Job, JobState, ModelChoice, Scope
from service.domain.limits import Limits
from service.domain.retry import MAX_LAPSED
from service.lifecycle import report
from service.lifecycle.claim import Claim
from service.lifecycle.jobs import request_cancel
from service.lifecycle.rescue import Rescuer
from service.store import jobs
from service.store.database import Database
from tests import make
from tests.make import submit

MODELS = ("first", "second", "third")


@pytest.fixture
def rescuer(db: Database, tmp_path: Path) -> Rescuer:
    return Rescuer(db, Files(tmp_path / "artifacts"), make.TERMS, make.PULLED)


def fallback(model: str, **changes: Any) -> ModelChoice:
    return ModelChoice(request=make.request(model=model, **changes), expected_ms=4000)


def send(db: Database, key_id: KeyId, *, models: tuple[str, ...] = MODELS, **changes: Any) -> Job:
    first, *others = models
    asked = make.submission(
        key_id,
        request=make.request(model=first),
        fallbacks=tuple(fallback(model, num_frames=5) for model in others),
        **changes,
    )
    job: Job = make.do(db, lambda tx: submit(tx, asked, Limits(), make.START)).job
    return job


def run(db: Database, clock: make.FakeClock) -> tuple[Claim, Job]:
    """The next attempt, begun."""
    claimed = make.claim(db, clock(), MODELS)
    return claimed, make.begin(db, claimed, clock(), call_id=claimed.token)


def fail(
    db: Database,
    held: tuple[Claim, Job],
    kind: FailureKind,
    clock: make.FakeClock,
    **more: Any,
) -> Job:
    claimed, running = held
    terms = more.pop("terms", make.TERMS)
    failure = Failure(kind=kind, code=f"{kind}_code", message=f"why {kind}", **more)
    job: Job = make.do(
        db,
        lambda tx: report.fail(
            tx,
            make.credentials(claimed),
            fence=running.fence,
            failure=failure,
            terms=terms,
            now=clock(),
        ),
    )
    return job


def now_of(db: Database, job: Job) -> Job:
    found = db.read(lambda tx: jobs.get(tx, job.id))
    assert found is not None
    return found


def gave_up(job: Job) -> list[tuple[str, str, str, str]]:
    return [(one.model, one.profile, one.code, one.next_model) for one in job.fell_back]


def test_without_memory_the_same_model_is_tried_in_less_and_then_the_next(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    send(db, key_id, models=("first", "second"))

    smaller = fail(db, run(db, clock), FailureKind.OOM, clock)
    assert (smaller.state, smaller.request.model) == (JobState.QUEUED, "first")
    assert smaller.profile is Profile.SMALL

    other = fail(db, run(db, clock), FailureKind.OOM, clock)
    assert (other.state, other.request.model) == (JobState.QUEUED, "second")
    assert other.profile is Profile.FULL
    assert other.request.num_frames == 5
    assert other.expected_ms == 4000

    fail(db, run(db, clock), FailureKind.OOM, clock)
    failed = fail(db, run(db, clock), FailureKind.OOM, clock)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.code == "oom_code"
    assert gave_up(failed) == [
        ("first", "full", "oom_code", "first"),
        ("first", "small", "oom_code", "second"),
        ("second", "full", "oom_code", "second"),
    ]
    assert [one.changes for one in failed.fell_back] == [
        {},
        {"num_frames": Change(before=3, after=5)},
        {},
    ]


def test_an_oom_at_the_last_attempt_still_has_one_in_less_memory(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    send(db, key_id, models=("first",))
    for _ in range(MAX_ATTEMPTS - 1):
        fail(db, run(db, clock), FailureKind.TRANSIENT, clock)
        clock.advance(60)

    assert fail(db, run(db, clock), FailureKind.OOM, clock).state is JobState.QUEUED
    assert run(db, clock)[1].attempt == MAX_ATTEMPTS + 1


def test_the_next_model_has_as_many_attempts_as_the_first(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    send(db, key_id, models=("first", "second"))
    tried = []

    for _ in range(2 * MAX_ATTEMPTS):
        held = run(db, clock)
        tried.append(held[1].request.model)
        job = fail(db, held, FailureKind.TRANSIENT, clock)
        clock.advance(60)

    assert tried == ["first"] * MAX_ATTEMPTS + ["second"] * MAX_ATTEMPTS
    assert job.state is JobState.FAILED
    assert make.claim(db, clock(), MODELS) is None


def test_a_fault_of_the_model_is_handed_on_at_once(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    send(db, key_id)

    job = fail(db, run(db, clock), FailureKind.INTERNAL, clock)

    assert (job.state, job.request.model) == (JobState.QUEUED, "second")
    assert [each.request.model for each in job.fallbacks] == ["third"]
    assert gave_up(job) == [("first", "full", "internal_code", "second")]
    assert job.fell_back[0].message == "why internal"


@pytest.mark.parametrize("kind", [FailureKind.USER, FailureKind.TIMEOUT])
def test_what_no_model_can_mend_is_not_handed_on(
    db: Database, key_id: KeyId, clock: make.FakeClock, kind: FailureKind
) -> None:
    send(db, key_id)

    job = fail(db, run(db, clock), kind, clock)

    assert (job.state, job.request.model, job.fell_back) == (JobState.FAILED, "first", ())


def test_a_prompt_that_one_model_cannot_read_is_handed_on(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    send(db, key_id)

    job = fail(db, run(db, clock), FailureKind.USER, clock, of_model=True)

    assert (job.state, job.request.model) == (JobState.QUEUED, "second")


def test_what_is_wrong_with_the_input_fails_the_job_with_every_model(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    send(db, key_id)

    job = fail(db, run(db, clock), FailureKind.INTERNAL, clock, of_model=False)

    assert (job.state, job.fell_back) == (JobState.FAILED, ())


def test_a_model_that_is_served_no_more_is_left_out(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    job = send(db, key_id)
    served = replace(make.TERMS, models=frozenset({"first", "third"}))

    onward = fail(db, run(db, clock), FailureKind.INTERNAL, clock, terms=served)
    assert (onward.state, onward.request.model) == (JobState.QUEUED, "third")
    assert onward.fallbacks == ()

    last = fail(db, run(db, clock), FailureKind.INTERNAL, clock, terms=served)
    assert last.state is JobState.FAILED
    assert gave_up(now_of(db, job)) == [("first", "full", "internal_code", "third")]


def test_what_nobody_wants_any_more_is_not_handed_on(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    job = send(db, key_id)
    held = run(db, clock)
    make.do(db, lambda tx: request_cancel(tx, job.id, Scope(key_id), clock()))

    assert fail(db, held, FailureKind.OOM, clock).state is JobState.CANCELED


def test_workers_of_a_model_that_gave_up_are_told_lost(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    send(db, key_id)
    old = run(db, clock)
    fail(db, old, FailureKind.INTERNAL, clock)
    new = run(db, clock)

    with pytest.raises(Lost):
        fail(db, old, FailureKind.OOM, clock)

    assert now_of(db, new[1]) == new[1]


def test_a_model_that_takes_its_workers_down_is_left(
    db: Database, key_id: KeyId, rescuer: Rescuer, clock: make.FakeClock
) -> None:
    job = send(db, key_id)

    for _ in range(2):
        run(db, clock)
        rescuer.tick(clock.advance(31))

    assert gave_up(now_of(db, job)) == [("first", "full", "worker_lost", "second")]
    # The workers that were lost are not counted against the second.
    run(db, clock)
    rescuer.tick(clock.advance(31))
    assert now_of(db, job).request.model == "second"
    assert now_of(db, job).state is JobState.QUEUED


def test_a_model_that_never_begins_is_left(
    db: Database, key_id: KeyId, rescuer: Rescuer, clock: make.FakeClock
) -> None:
    job = send(db, key_id, models=("first", "second"))

    for _ in range(MAX_LAPSED):
        assert make.claim(db, clock(), MODELS).job.request.model == "first"
        rescuer.tick(clock.advance(31))
    for _ in range(MAX_LAPSED):
        assert make.claim(db, clock(), MODELS).job.request.model == "second"
        rescuer.tick(clock.advance(31))

    failed = now_of(db, job)
    assert failed.state is JobState.FAILED
    assert gave_up(failed) == [("first", "full", "never_begun", "second")]


def test_each_model_is_waited_for_and_then_the_job_expires(
    db: Database, key_id: KeyId, rescuer: Rescuer, clock: make.FakeClock
) -> None:
    job = send(db, key_id, models=("first", "second"), start_timeout=timedelta(seconds=60))

    clock.advance(61)
    assert make.claim(db, clock(), MODELS) is None  # it is too late for the first
    rescuer.tick(clock())
    handed_on = now_of(db, job)
    assert (handed_on.state, handed_on.request.model) == (JobState.QUEUED, "second")
    assert handed_on.fence > job.fence
    assert make.claim(db, clock(), ("first",)) is None

    rescuer.tick(clock.advance(59))
    assert now_of(db, job).state is JobState.QUEUED
    rescuer.tick(clock.advance(2))
    assert now_of(db, job).state is JobState.EXPIRED
    assert gave_up(now_of(db, job)) == [("first", "full", "not_started", "second")]


def test_the_next_model_is_waited_for_as_long_as_the_first(
    db: Database, key_id: KeyId, rescuer: Rescuer, clock: make.FakeClock
) -> None:
    job = send(db, key_id, models=("first", "second"), start_timeout=timedelta(seconds=60))
    clock.advance(50)
    fail(db, run(db, clock), FailureKind.INTERNAL, clock)

    rescuer.tick(clock.advance(59))
    assert now_of(db, job).state is JobState.QUEUED
    rescuer.tick(clock.advance(2))
    assert now_of(db, job).state is JobState.EXPIRED


def test_only_the_video_of_the_model_that_made_it_is_taken(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    send(db, key_id, models=("first", "second"))
    fail(db, run(db, clock), FailureKind.INTERNAL, clock)
    claimed, running = run(db, clock)
    made = make.outcome(running)
    assert made.facts.num_frames == 5

    done: Job = make.do(
        db,
        lambda tx: report.finish(
            tx,
            make.credentials(claimed),
            fence=running.fence,
            outcome=made,
            terms=make.TERMS,
            now=clock(),
        ),
    )

    assert (done.state, done.request.model) == (JobState.SUCCEEDED, "second")
