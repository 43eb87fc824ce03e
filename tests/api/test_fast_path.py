"""A request is answered alike in the express lane and in the common one, which a query leads to."""

import json
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from fastapi.testclient import TestClient
from httpx import Response
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from service.app import build
from service.domain.request import VideoParams
from service.settings import Settings
from tests.api.world import KEY, World

# Differ between any two submits.
OWN = ("id", "job_id", "seed", "created_at", "urls", "queue_position", "eta_seconds", "request_id")


def told(answer: Response) -> tuple[int, dict[str, Any], dict[str, str]]:
    """What both lanes must agree on."""
    body = {name: value for name, value in answer.json().items() if name not in OWN}
    if "input" in body:
        body["input"].pop("seed")
    names = ("content-type", "retry-after", "cache-control", "preference-applied")
    return answer.status_code, body, {name: answer.headers.get(name, "") for name in names}


def both(world: World, body: bytes, **headers: str) -> tuple[Response, Response]:
    sent = {"Content-Type": "application/json", **headers}
    return (
        world.client.post("/generate-video", content=body, headers=sent),
        world.client.post("/generate-video?&", content=body, headers=sent),
    )


@pytest.fixture
def common(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that FastAPI's router was asked for."""
    found: list[str] = []
    router = world.client.app.router  # type: ignore[attr-defined]
    app: Callable[..., Any] = router.middleware_stack

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope["path"])
        await app(scope, receive, send)

    monkeypatch.setattr(router, "middleware_stack", noted)
    world.client.get("/v1/jobs")  # so that the key is known
    found.clear()
    return found


def test_a_plain_submit_and_a_plain_poll_take_the_express_lane(
    world: World, common: list[str]
) -> None:
    job = world.submit()
    world.job(job["id"])

    assert common == []


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/jobs/job_none", {}),
        ("/v1/jobs/job_00000000000000000000000000?wait=0", {}),
        ("/v1/jobs/job_00000000000000000000000000", {"Authorization": "Bearer " + "x" * 40}),
        ("/v1/jobs/job_00000000000000000000000000", {"Authorization": "Basic x"}),
        ("/v1/jobs/job_00000000000000000000000000/content", {}),
    ],
)
def test_what_is_not_plain_goes_the_common_way(
    world: World, common: list[str], path: str, headers: dict[str, str]
) -> None:
    world.client.get(path, headers=headers)

    assert common == [path.partition("?")[0]]


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "x"}',
        b'{"prompt": "x", "num_frames": 3, "seed": 1, "metadata": {"a": "b"}}',
        b'{"prompt": "x", "seed": 1.0}',
        b'{"prompt": "x", "duration_seconds": 1}',
        b'{"prompt": "x", "duration_seconds": NaN}',
        b'{"prompt": "x", "duration_seconds": 1e999}',
        b'{"prompt": "x", "seed": 99999999999999999999999999}',
        b'{"prompt": "x", "seed": "1"}',
        b'{"prompt": "x", "prompt": "y"}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "\\u0000"}',
        b'{"prompt": "\xff"}',
        b'\xef\xbb\xbf{"prompt": "x"}',
        '{"prompt": "x"}'.encode("utf-16"),
        b'{"promt": "x"}',
        b'{"prompt": "x", "width": 65}',
        b'{"prompt": "x", "model": "none"}',
        b'{"prompt": "x", "webhook_url": "https://10.0.0.1/"}',
        b'{"prompt": "x", }',
        b'{"prompt": "x"} trailing',
        b"[1]",
        b"null",
        b"",
        b"[" * 5_000,
    ],
    ids=lambda body: body[:40].decode("latin1"),
)
def test_every_body_is_answered_alike(world: World, common: list[str], body: bytes) -> None:
    express, usual = both(world, body)

    assert told(express) == told(usual)


@pytest.mark.parametrize(
    "headers",
    [
        {"Prefer": "wait=0"},
        {"Idempotency-Key": "order 1"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/vnd.api+json"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Authorization": "Bearer wrong"},
    ],
    ids=str,
)
def test_every_header_is_answered_alike(
    world: World, common: list[str], headers: dict[str, str]
) -> None:
    express, usual = both(world, b'{"prompt": "x"}', **headers)

    assert told(express) == told(usual)


def test_a_name_is_known_in_both_lanes(world: World, common: list[str]) -> None:
    first, second = both(world, b'{"prompt": "x"}', **{"Idempotency-Key": "order-1"})

    assert first.json()["id"] == second.json()["id"]
    assert second.headers["Idempotency-Replayed"] == "true"


def test_too_large_a_body_is_answered_alike(world: World, common: list[str]) -> None:
    express, usual = both(world, b'{"prompt": "' + b"x" * 300_000 + b'"}')

    assert express.status_code == 413
    assert told(express) == told(usual)


def test_a_poll_is_answered_alike(world: World, common: list[str]) -> None:
    job = world.submit()

    express = world.client.get(f"/v1/jobs/{job['id']}")
    usual = world.client.get(f"/v1/jobs/{job['id']}?wait=0")

    assert (express.json(), express.headers["ETag"]) == (usual.json(), usual.headers["ETag"])
    known = {"If-None-Match": express.headers["ETag"]}
    assert world.client.get(f"/v1/jobs/{job['id']}", headers=known).status_code == 304


def test_another_keys_job_is_not_there(world: World, common: list[str]) -> None:
    job = world.submit()
    stranger = {"Authorization": f"Bearer {world.other_key()}"}
    world.client.get("/v1/jobs", headers=stranger)  # so that the key is known
    common.clear()

    answer = world.client.get(f"/v1/jobs/{job['id']}", headers=stranger)

    assert (answer.status_code, common) == (404, [])


def test_the_pace_holds_in_the_express_lane(settings: Settings) -> None:
    slow = settings.model_copy(update={"max_requests_per_second": 0.001})
    with TestClient(build(slow), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        job = client.post("/generate-video", json={"prompt": "x"}).json()
        answers = [client.get(f"/v1/jobs/{job['id']}") for _ in range(1_001)]

        answers.append(client.post("/generate-video", json={"prompt": "x"}))

    assert [answer.status_code for answer in answers[-2:]] == [429, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert answers[-1].json()["code"] == "rate_limited"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
ASKS = st.dictionaries(st.sampled_from([*VideoParams.model_fields, "x"]), VALUES, max_size=4)


@hypothesis.settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(ask=ASKS)
def test_any_ask_is_answered_alike(world: World, common: list[str], ask: dict[str, Any]) -> None:
    express, usual = both(world, json.dumps({"prompt": "x", **ask}).encode())

    assert told(express) == told(usual)


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://app.example.com"}, {"Content-Type": "application/json; charset=utf-8"}],
    ids=str,
)
def test_a_page_in_a_browser_goes_the_common_way(
    world: World, common: list[str], headers: dict[str, str]
) -> None:
    both(world, b'{"prompt": "x"}', **headers)

    assert common == ["/generate-video"] * 2


def test_a_header_that_is_there_twice_goes_the_common_way(world: World, common: list[str]) -> None:
    """Which of the two counts is not for this lane to say."""
    twice = [("Authorization", "Bearer wrong"), ("Authorization", f"Bearer {KEY}")]
    request = world.client.build_request("GET", "/v1/jobs/job_00000000000000000000000000")
    request.headers = type(request.headers)(twice)

    world.client.send(request)

    assert common == ["/v1/jobs/job_00000000000000000000000000"]


def test_a_fault_in_the_lane_is_a_problem_with_the_id_that_the_log_has(
    world: World, common: list[str], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    async def broken(*args: object) -> None:
        raise KeyError("as planned")

    monkeypatch.setattr("service.api.fast_path.generate_video", broken)
    answer = world.client.post("/generate-video", json={"prompt": "x"})

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    assert common == []
    assert "request failed" in caplog.text
