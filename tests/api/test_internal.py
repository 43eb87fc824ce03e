import threading
from datetime import timedelta

import pytest

from tests.api.world import World


def test_a_ticket_holds_all_that_a_worker_needs(world: World) -> None:
    job = world.submit(prompt="a fox")

    ticket = world.claim().json()

    assert ticket["job_id"] == job["id"]
    assert ticket["request"]["prompt"] == "a fox"
    assert ticket["card"]["name"] == "slate"
    assert ticket["api_url"] == "http://rushes.test"
    assert world.job(job["id"])["status"] == "starting"


def test_no_work_is_204_and_waiting_work_is_given_at_once(world: World) -> None:
    assert world.claim().status_code == 204
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(world.claim(wait=30)))
    waiting.start()

    job = world.submit()
    waiting.join(10)

    assert answers[0].json()["job_id"] == job["id"]


def test_progress_is_shown_and_a_wish_to_cancel_is_heard(world: World) -> None:
    job = world.submit()
    ticket, begun = world.begin()
    told = {"stage": "generate", "fraction": 0.4, "detail": "step 4 of 10"}

    first = world.report(ticket, "progress", fence=begun["fence"], progress=told)
    world.client.post(f"/v1/jobs/{job['id']}/cancel")
    second = world.report(ticket, "progress", fence=begun["fence"], progress=told)

    shown = world.job(job["id"])
    assert (shown["stage"], shown["stage_detail"], shown["progress"]) == (
        "generate",
        "step 4 of 10",
        40,
    )
    assert [first.json(), second.json()] == [
        {"cancel_requested": False},
        {"cancel_requested": True},
    ]


def test_a_stale_fence_is_told_lost(world: World) -> None:
    world.submit()
    ticket, begun = world.begin()
    told = {"stage": "generate", "fraction": 0.4}

    answer = world.report(ticket, "progress", fence=begun["fence"] - 1, progress=told)

    assert (answer.status_code, answer.json()["code"]) == (409, "lost")


def test_a_failure_is_shown_in_its_own_words(world: World) -> None:
    job = world.submit()
    ticket, begun = world.begin()
    failure = {"kind": "user", "code": "prompt_too_long", "message": "300 tokens", "stage": "load"}

    world.report(ticket, "fail", fence=begun["fence"], failure=failure)

    assert world.job(job["id"])["error"] == {
        "code": "prompt_too_long",
        "kind": "user",
        "message": "300 tokens",
        "retryable": False,
        "stage": "load",
        "attempt": 1,
    }


@pytest.mark.parametrize("act", ["begin", "progress", "finish", "fail"])
def test_another_jobs_token_opens_nothing(world: World, act: str) -> None:
    world.submit()
    world.submit()
    mine = world.claim().json()
    theirs = world.claim().json()
    bodies = {
        "begin": {"call_id": "x"},
        "progress": {"fence": 1, "progress": {"stage": "load", "fraction": 0}},
        "fail": {"fence": 1, "failure": {"kind": "user", "code": "x", "message": "y"}},
        "finish": {"fence": 1, "outcome": _any_outcome()},
    }

    answer = world.report({**theirs, "token": mine["token"]}, act, **bodies[act])

    assert answer.status_code == 404


def _any_outcome() -> dict[str, object]:
    artifact = {"key": "a/b", "media_type": "video/mp4", "size_bytes": 1, "sha256": "0" * 64}
    facts = {"video": artifact, "thumbnail": artifact, "last_frame": artifact}
    size = {"width": 64, "height": 64, "fps": 1, "num_frames": 1}
    return {"facts": {**facts, **size}, "timings_ms": {}}


def test_a_call_begins_one_attempt_only(world: World) -> None:
    world.submit()
    world.submit()
    first, second = world.claim().json(), world.claim().json()

    assert world.report(first, "begin", call_id="call-1").status_code == 200
    assert world.report(second, "begin", call_id="call-1").status_code == 409


def test_only_a_worker_may_claim(world: World) -> None:
    answer = world.client.post("/internal/claims", json={"worker": "w", "models": ["slate"]})

    assert answer.status_code == 401


def test_one_deadline_ends_and_another_starts_with_the_attempt(world: World) -> None:
    def stored(columns: str) -> tuple[object, ...]:
        return tuple(
            world.runtime.db.read(
                lambda tx: tx.connection.exec_driver_sql(f"SELECT {columns} FROM jobs").one()
            )
        )

    world.submit(timeout_seconds=60, start_timeout_seconds=5)
    assert stored("start_deadline_at - created_at, run_deadline_at") == (5_000_000, None)

    world.begin()

    assert stored("start_deadline_at, run_deadline_at - started_at") == (None, 60_000_000)


def test_a_worker_that_is_busy_is_not_called_gone(world: World) -> None:
    fleet = world.runtime.fleet
    world.submit()
    ticket, begun = world.begin()
    now = world.runtime.clock()
    told = {"stage": "generate", "fraction": 0.4}

    fleet.record_report(f"{ticket['job_id']}.1", now + timedelta(seconds=40))
    assert len(fleet.serving("slate", now + timedelta(seconds=60))) == 1
    assert world.report(ticket, "progress", fence=begun["fence"], progress=told).status_code == 200
    assert fleet.serving("slate", now + timedelta(seconds=100)) == []
