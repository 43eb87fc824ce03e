import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from tests.api.world import World


def test_an_unchanged_job_is_304(world: World) -> None:
    job = world.submit()
    first = world.client.get(f"/v1/jobs/{job['id']}")
    tag = first.headers["etag"]

    same = world.client.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": tag})
    world.client.post(f"/v1/jobs/{job['id']}/cancel")
    changed = world.client.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": tag})

    assert (same.status_code, same.content) == (304, b"")
    assert first.headers["retry-after"] == "1"
    assert changed.status_code == 200
    assert "retry-after" not in changed.headers


def test_a_long_poll_ends_with_the_job(world: World) -> None:
    job = world.submit()
    answers = []
    poll = threading.Thread(
        target=lambda: answers.append(world.client.get(f"/v1/jobs/{job['id']}?wait=30").json())
    )
    poll.start()

    world.finish()
    poll.join(10)

    assert answers[0]["status"] == "succeeded"


def test_a_video_of_segments_tells_how_they_fit_together(world: World) -> None:
    world.submit()
    world.submit()

    whole, long = world.job(world.finish()), world.job(world.finish(seams=(1.23456, 6.0)))

    assert whole["result"]["seams"] is None
    assert long["result"]["seams"] == [1.23, 6.0]


def test_a_finished_job_tells_all(world: World) -> None:
    world.submit(duration_seconds=5)
    job = world.job(world.finish())

    assert job["status"] == "succeeded"
    assert job["progress"] == 100
    assert job["stage"] is None
    assert job["generation_time_ms"] == 1234
    assert job["result"]["duration_seconds"] == 5.0
    assert job["result"]["num_frames"] == 120
    assert job["cost"]["actual_usd"] == 0
    assert job["expires_at"] == job["result"]["expires_at"]


def test_cancel_ends_a_queued_job_and_may_be_repeated(world: World) -> None:
    job = world.submit()

    first = world.client.post(f"/v1/jobs/{job['id']}/cancel")
    again = world.client.post(f"/v1/jobs/{job['id']}/cancel")

    assert (first.status_code, first.json()["status"]) == (200, "canceled")
    assert again.json() == first.json()


def test_cancel_of_a_running_job_is_a_wish(world: World) -> None:
    job = world.submit()
    world.begin()

    answer = world.client.post(f"/v1/jobs/{job['id']}/cancel")

    assert answer.status_code == 202
    assert answer.json()["status"] == "running"
    assert answer.json()["cancel_requested_at"]


def test_retry_makes_a_new_job_with_the_same_input_and_seed(world: World) -> None:
    job = world.submit(prompt="a fox", width=128, metadata={"scene": "3"})
    assert world.client.post(f"/v1/jobs/{job['id']}/retry").status_code == 409
    world.client.post(f"/v1/jobs/{job['id']}/cancel")

    same = world.client.post(f"/v1/jobs/{job['id']}/retry").json()
    changed = world.client.post(
        f"/v1/jobs/{job['id']}/retry", json={"width": 256, "duration_seconds": 1}
    ).json()

    assert same["id"] != job["id"]
    assert (same["retry_of"], same["input"], same["metadata"]) == (
        job["id"],
        job["input"],
        {"scene": "3"},
    )
    assert (changed["input"]["width"], changed["input"]["num_frames"]) == (256, 24)
    assert changed["seed"] == job["seed"]


def test_a_retry_sent_again_is_the_same_after_the_job_it_retried_is_deleted(world: World) -> None:
    job = world.submit()["id"]
    world.finish()
    path, named = f"/v1/jobs/{job}/retry", {"Idempotency-Key": "retry-1"}
    first = world.client.post(path, json={"seed": 1}, headers=named)
    world.client.delete(f"/v1/jobs/{job}")

    again = world.client.post(path, json={"seed": 1}, headers=named)
    other = world.client.post(path, json={"seed": 2}, headers=named)
    new = world.client.post(path, json={"seed": 1}, headers={"Idempotency-Key": "retry-2"})

    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert other.json()["code"] == "idempotency_key_reused"
    assert new.status_code == 404


def test_retry_with_another_model_takes_that_models_defaults(world: World) -> None:
    job = world.submit(prompt="a fox", num_inference_steps=50)
    world.client.post(f"/v1/jobs/{job['id']}/cancel")

    other = world.client.post(f"/v1/jobs/{job['id']}/retry", json={"model": "ltx-2b"}).json()

    assert (other["model"], other["input"]["num_inference_steps"]) == ("ltx-2b", 7)
    assert (other["input"]["prompt"], other["seed"]) == ("a fox", job["seed"])


def test_delete_takes_bytes_and_row_of_a_final_job(world: World) -> None:
    job = world.submit()
    assert world.client.delete(f"/v1/jobs/{job['id']}").status_code == 409
    world.finish()
    path = world.runtime.artifacts.path(
        world.runtime.db.read(
            lambda tx: tx.connection.exec_driver_sql(
                "SELECT json_extract(result, '$.artifacts.video.key') FROM jobs"
            ).scalar()
        )
    )
    assert path is not None

    answer = world.client.delete(f"/v1/jobs/{job['id']}")

    assert answer.json() == {"id": job["id"], "object": "job", "deleted": True}
    assert not path.exists()
    assert world.client.get(f"/v1/jobs/{job['id']}").status_code == 404


def test_the_list_is_paged_from_the_newest(world: World) -> None:
    ids = [world.submit()["id"] for _ in range(5)]

    first = world.client.get("/v1/jobs?limit=2").json()
    second = world.client.get(f"/v1/jobs?limit=2&after={first['last_id']}").json()
    last = world.client.get(f"/v1/jobs?limit=2&after={second['last_id']}").json()

    pages = [[job["id"] for job in page["data"]] for page in (first, second, last)]
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
    assert [page["has_more"] for page in (first, second, last)] == [True, True, False]
    assert first["first_id"] == ids[4]


def test_the_list_is_filtered(world: World) -> None:
    kept = world.submit(metadata={"scene": "a b"})
    gone = world.submit()
    world.client.post(f"/v1/jobs/{gone['id']}/cancel")

    def found(query: str) -> list[str]:
        return [job["id"] for job in world.client.get(f"/v1/jobs?{query}").json()["data"]]

    assert found("status=canceled") == [gone["id"]]
    assert found("status=queued,canceled&order=asc") == [kept["id"], gone["id"]]
    assert found(f"ids={kept['id']}") == [kept["id"]]
    assert found("metadata[scene]=a%20b") == [kept["id"]]
    assert found("metadata[scene]=a") == []
    assert found("model=ltx-2b") == []
    assert found("prompt=RED+a") == [gone["id"], kept["id"]]
    assert found("prompt=blue") == []
    now = quote(datetime.now(UTC).isoformat())
    assert found(f"created_before={now}&kind=video") == [gone["id"], kept["id"]]
    assert found("created_after=2100-01-01T00:00:00Z") == []
    assert found("ended_after=2020-01-01T00:00:00Z") == [gone["id"]]
    assert found(f"ended_before={now}&status=canceled") == [gone["id"]]
    assert found("error=timeout") == []


def test_failed_jobs_are_found_by_the_code_of_their_error(world: World) -> None:
    job_id = world.submit()["id"]
    ticket, begun = world.begin()
    failure = {"kind": "user", "code": "media_format", "message": "is no image"}
    world.report(ticket, "fail", fence=begun["fence"], failure=failure)
    world.submit()

    page = world.client.get("/v1/jobs?error=media_format").json()

    assert [job["id"] for job in page["data"]] == [job_id]
    assert not page["has_more"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "?limit"),
        ("limit=x", "?limit"),
        ("status=done", "?status"),
        ("ids=nonsense", "?ids"),
        ("after=nonsense", "?after"),
        ("order=up", "?order"),
        ("colour=red", "?colour"),
        ("created_after=yesterday", "?created_after"),
        ("ended_before=2026-01-01T00:00:00", "?ended_before"),
        ("prompt=" + "x" * 201, "?prompt"),
        ("metadata[a]=1&metadata[a]=2", "?metadata[a]"),
        ("metadata[%00]=1", "?metadata[\x00]"),
        ("&".join(f"metadata[{n}]=1" for n in range(17)), "?metadata[16]"),
    ],
)
def test_a_wrong_filter_is_refused_by_name(world: World, query: str, pointer: str) -> None:
    answer = world.client.get(f"/v1/jobs?{query}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("method", "path", "details"),
    [
        (
            "GET",
            "/v1/jobs?modle=slate&foo=3",
            ["modle: no such parameter; did you mean model?", "foo: no such parameter"],
        ),
        (
            "POST",
            "/generate-video?wait=5",
            ["wait: no such parameter; use the header `Prefer: wait=N`"],
        ),
        ("GET", "/v1/voices?langauge=en", ["langauge: no such parameter; did you mean language?"]),
        ("GET", "/v1/models?metadata[a]=1", ["metadata[a]: no such parameter"]),
    ],
)
def test_each_unknown_parameter_is_refused_with_the_nearest(
    world: World, method: str, path: str, details: list[str]
) -> None:
    body = {"json": {"prompt": "a"}} if method == "POST" else {}
    answer = world.client.request(method, path, **body)

    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert [error["detail"] for error in errors] == details
    assert {error["code"] for error in errors} == {"unknown_field"}


def test_a_wrong_label_is_refused_in_words(world: World) -> None:
    answer = world.client.post("/generate-video", json={"prompt": "a", "metadata": {"a#": "1"}})

    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/metadata/a#"
    assert error["detail"].endswith(
        "a label must have 1 to 64 letters, digits, spaces or _ . : / @ -"
    )


def test_deleting_at_once_and_many_times_is_no_fault(world: World) -> None:
    world.submit()
    job_id = world.finish()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: world.client.delete(f"/v1/jobs/{job_id}"), range(8)))

    assert {answer.status_code for answer in answers} <= {200, 404}
    assert any(answer.status_code == 200 for answer in answers)


def test_a_state_that_is_named_twice_lists_its_jobs_once(world: World) -> None:
    job = world.submit()

    page = world.client.get("/v1/jobs?status=queued,queued&limit=1").json()

    assert [one["id"] for one in page["data"]] == [job["id"]]
    assert not page["has_more"]
