import base64
import threading
import time

import pytest

from service.domain.job import Scope
from service.store import keys
from tests.api.world import VIDEO, World


def test_a_submitted_job_is_answered_whole(world: World) -> None:
    answer = world.client.post(
        "/generate-video",
        json={"prompt": "A serene mountain landscape with flowing water", "metadata": {"a": "b"}},
    )

    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == job["urls"]["self"]
    assert answer.headers["location"].startswith("http://rushes.test/v1/jobs/job_")
    assert job["status"] == "queued"
    assert job["job_id"] == job["id"]
    assert job["sandbox"] is True
    assert job["queue_position"] == 0
    assert job["progress"] == 0
    assert job["metadata"] == {"a": "b"}
    assert job["input"]["num_frames"] == 120
    assert job["seed"] == job["input"]["seed"]
    assert job["result"] is None


def test_the_place_in_the_queue_is_shown(world: World) -> None:
    jobs = [world.submit() for _ in range(3)]
    urgent = world.submit(priority="high")

    def places() -> list[int]:
        return [world.job(job["id"])["queue_position"] for job in [urgent, *jobs]]

    assert [job["queue_position"] for job in jobs] == [0, 1, 2]
    assert urgent["queue_position"] == 0
    deadline = time.monotonic() + 60
    while places() != [0, 1, 2, 3]:  # the queue is looked at now and then, not for every poll
        assert time.monotonic() < deadline


def test_a_single_clip_is_not_told_to_wait_for_another_keys_batch(world: World) -> None:
    for _ in range(20):
        world.submit()
    other = {"Authorization": f"Bearer {world.other_key()}"}

    single = world.client.post("/generate-video", json={"prompt": "x"}, headers=other).json()

    assert single["queue_position"] in (0, 1)


def test_the_same_idempotency_key_makes_one_job(world: World) -> None:
    headers = {"Idempotency-Key": "order-17"}
    body = {"prompt": "x"}

    first = world.client.post("/generate-video", json=body, headers=headers)
    again = world.client.post("/generate-video", json=body, headers=headers)
    other = world.client.post("/generate-video", json={"prompt": "y"}, headers=headers)

    assert again.json()["id"] == first.json()["id"]
    assert again.status_code == 202
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize("name", ["", " ", "x" * 256, "with space"])
def test_an_unusable_idempotency_key_is_refused(world: World, name: str) -> None:
    answer = world.client.post(
        "/generate-video", json={"prompt": "x"}, headers={"Idempotency-Key": name}
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "Idempotency-Key:"


def finish_soon(world: World) -> threading.Thread:
    def work() -> None:
        while world.runtime.db.read(lambda tx: tx.connection.exec_driver_sql(
            "SELECT count(*) FROM jobs WHERE state = 'queued'"
        ).scalar()) == 0:  # fmt: skip
            time.sleep(0.01)
        world.finish()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_wait_ends_as_soon_as_the_job_does(world: World) -> None:
    worker = finish_soon(world)

    answer = world.client.post(
        "/generate-video", json={"prompt": "x"}, headers={"Prefer": "wait=30"}
    )
    worker.join()

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.json()["status"] == "succeeded"


def test_an_inline_answer_is_the_video_and_nothing_else(world: World) -> None:
    worker = finish_soon(world)

    answer = world.client.post(
        "/generate-video",
        json={"prompt": "x", "response_format": "b64_json"},
        headers={"Prefer": "wait=30"},
    )
    worker.join()

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"video", "duration_ms", "generation_time_ms"}
    assert base64.b64decode(body["video"]) == VIDEO
    assert (body["duration_ms"], body["generation_time_ms"]) == (5000, 1234)


def test_a_wait_that_is_too_short_answers_with_the_job(world: World) -> None:
    answer = world.client.post(
        "/generate-video",
        json={"prompt": "x", "response_format": "b64_json"},
        headers={"Prefer": "respond-async, wait=0"},
    )

    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"


def test_an_estimate_starts_nothing_and_tells_what_would_be(world: World) -> None:
    answer = world.client.post(
        "/v1/estimate", json={"prompt": "x", "model": "ltx-2b", "duration_seconds": 5}
    )

    body = answer.json()
    assert answer.status_code == 200
    assert body["input"]["num_frames"] == 121
    assert body["duration_seconds"] == pytest.approx(121 / 24, abs=1e-6)
    assert body["expected_seconds"] > 0
    assert any("121 frames" in warning for warning in body["warnings"])
    assert any("no worker" in warning for warning in body["warnings"])
    assert world.client.get("/v1/jobs").json()["data"] == []


def test_a_full_queue_answers_429_and_when_to_come_back(world: World) -> None:
    object.__setattr__(world.runtime.limits, "max_queued_per_key", 1)
    world.submit()

    answer = world.client.post("/generate-video", json={"prompt": "x"})

    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["retryable"] is True


def test_a_video_too_large_for_json_is_not_sent_in_it(world: World) -> None:
    object.__setattr__(world.runtime.limits, "max_inline_bytes", 10)
    worker = finish_soon(world)

    answer = world.client.post(
        "/generate-video",
        json={"prompt": "x", "response_format": "b64_json"},
        headers={"prefer": "Wait = 30"},
    )
    worker.join()

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large_inline")
    assert "video_url" in answer.json()["detail"]


def test_a_retry_is_another_request_than_a_submit(world: World) -> None:
    headers = {"Idempotency-Key": "one"}
    body = {"prompt": "x", "seed": 1}
    job = world.client.post("/generate-video", json=body, headers=headers).json()
    world.client.post(f"/v1/jobs/{job['id']}/cancel")

    answer = world.client.post(f"/v1/jobs/{job['id']}/retry", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


def test_retrying_a_job_that_is_being_deleted_is_404(world: World) -> None:
    job = world.submit()
    world.client.post(f"/v1/jobs/{job['id']}/cancel")
    cached = world.runtime.job_cache.find(
        world.runtime.db, job["id"], Scope(world.runtime.db.read(keys.every)[0].id)
    )
    world.client.delete(f"/v1/jobs/{job['id']}")
    world.runtime.job_cache._jobs[job["id"]] = cached  # as if it was deleted after the look

    assert world.client.post(f"/v1/jobs/{job['id']}/retry").status_code == 404


def test_an_estimate_has_no_use_for_an_idempotency_key(world: World) -> None:
    bad = {"Idempotency-Key": "with a space"}

    estimate = world.client.post("/v1/estimate", json={"prompt": "x"}, headers=bad)
    submit = world.client.post("/generate-video", json={"prompt": "x"}, headers=bad)

    assert (estimate.status_code, submit.status_code) == (200, 422)


def test_a_whole_number_with_a_point_is_an_integer(world: World) -> None:
    body = '{"prompt": "x", "num_frames": 24.0, "fps": 12.0, "seed": 7.0, "timeout_seconds": 9e1}'
    headers = {"Content-Type": "application/json"}

    express = world.client.post("/generate-video", content=body, headers=headers)
    common = world.client.post(
        "/generate-video", content=body, headers={**headers, "Origin": "http://a.test"}
    )
    keyframe = {"frame": 8.0, "image": "aaaa"}
    framed = world.client.post("/generate-video", json={"prompt": "x", "keyframes": [keyframe]})

    for answer in (express, common):
        made = answer.json()["input"]
        assert (answer.status_code, made["num_frames"], made["fps"], made["seed"]) == (
            *(202, 24, 12),
            7,
        )
    assert [error["pointer"] for error in framed.json()["errors"]] == ["/keyframes/0/image"]


@pytest.mark.parametrize("number", ["24.5", "1e400", '"24"', "true"])
def test_what_is_no_integer_is_refused(world: World, number: str) -> None:
    answer = world.client.post(
        "/generate-video",
        content=f'{{"prompt": "x", "num_frames": {number}}}',
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/num_frames"]
