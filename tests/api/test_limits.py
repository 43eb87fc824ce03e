import shutil
import time
from collections import namedtuple
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from service.app import build
from service.deployment import API_INPUTS
from service.domain.errors import RateLimited, StorageFull
from service.domain.ids import KeyId
from service.runtime import disk_space
from service.runtime.disk_space import DiskSpace
from service.runtime.rate_limit import RateLimit
from service.runtime.wait_slots import WaitSlots
from service.settings import Settings
from service.wiring import rules
from tests.api.world import KEY, World
from tests.disks import small_disk


def test_a_key_that_asks_too_often_is_told_when_to_come_back(settings: Settings) -> None:
    settings.max_submits_per_second = 0.1
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        world = World(client)
        other = {"Authorization": f"Bearer {world.other_key()}"}
        key_id = client.get("/v1/keys").json()["data"][0]["id"]
        world.runtime.throttles.submits._bucket(key_id, time.monotonic()).tokens = 1.5
        world.submit()

        refused = client.post("/generate-video", json={"prompt": "x"})

        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert refused.json()["retryable"] is True
        assert 1 <= int(refused.headers["Retry-After"]) <= 10
        assert client.get("/v1/jobs").json()["data"] != []  # looking is another matter
        served = client.post("/generate-video", json={"prompt": "x"}, headers=other)
        assert served.status_code == 202


def test_polls_have_a_pace_of_their_own(world: World) -> None:
    key_id = world.client.get("/v1/keys").json()["data"][0]["id"]
    world.runtime.throttles.requests._per_second = 0.1
    world.runtime.throttles.requests._bucket(key_id, time.monotonic()).tokens = 0

    refused = world.client.get("/v1/jobs")

    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert world.client.get("/health").status_code == 200


def test_a_bucket_holds_a_burst_and_fills_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    pace, key_id = RateLimit(10, "requests"), KeyId("k")
    for _ in range(1000):
        pace.spend(key_id)
    with pytest.raises(RateLimited) as refused:
        pace.spend(key_id)
    assert refused.value.retry_after_seconds == 1

    now = 2.0
    for _ in range(20):
        pace.spend(key_id)
    with pytest.raises(RateLimited):
        pace.spend(key_id)


def test_no_limit_is_no_limit() -> None:
    pace = RateLimit(0, "requests")

    for _ in range(5000):
        pace.spend(KeyId("k"))


def test_a_nearly_full_disk_takes_no_job_and_begins_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12 - 10**6, 10**6))
    monkeypatch.setattr(disk_space, "_CHECK_SECONDS", 0)
    world.runtime.disk_space._valid_until = 0.0

    refused = world.client.post("/generate-video", json={"prompt": "x"})

    assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
    assert "nearly full (0.00 GB free, 0.50 GB needed)" in refused.json()["detail"]
    health = world.client.get("/health").json()
    assert health["reasons"] == ["no_worker", "disk_nearly_full"]
    assert refused.headers["Retry-After"] == "60"
    assert world.claim().status_code == 204
    assert world.job(job["id"])["status"] == "queued"
    monkeypatch.undo()
    world.runtime.disk_space._valid_until = 0.0
    assert world.claim().status_code == 200


def test_a_disk_without_inodes_takes_no_job_though_it_has_room_for_bytes(tmp_path: Path) -> None:
    with small_disk(tmp_path, inodes=200):
        room = DiskSpace(tmp_path, min_free_bytes=0)
        assert room.enough

        for number in range(150):
            (tmp_path / f"{number}").touch()

        lacking = DiskSpace(tmp_path, min_free_bytes=0)
        assert not lacking.enough
        with pytest.raises(StorageFull, match=r"\(\d+ inodes free, 100 needed\)"):
            lacking.check()


def test_held_requests_leave_room_for_others(settings: Settings) -> None:
    """On Modal each of them takes one of the places of a container."""
    settings.dispatch = "modal"
    waits = WaitSlots(rules.limits(settings).max_waits)

    with ExitStack() as held:
        one = [held.enter_context(waits.hold(KeyId("one"))) for _ in range(110)]
        other = [held.enter_context(waits.hold(KeyId("other"))) for _ in range(110)]
        third = held.enter_context(waits.hold(KeyId("third")))

    assert (sum(one), sum(other), third) == (30, 30, False)
    assert sum(one) + sum(other) + rules.limits(settings).max_streams < 0.9 * API_INPUTS
    with waits.hold(KeyId("third")) as again:
        assert again


def test_a_request_that_may_not_be_held_is_answered_at_once(world: World) -> None:
    job = world.submit()
    key_id = world.client.get("/v1/keys").json()["data"][0]["id"]
    with ExitStack() as held:
        while held.enter_context(world.runtime.throttles.waits.hold(key_id)):
            pass
        started = time.monotonic()

        polled = world.client.get(f"/v1/jobs/{job['id']}?wait=60")
        asked = {"prompt": "x"}
        sent = world.client.post("/generate-video", json=asked, headers={"Prefer": "wait=60"})

    assert time.monotonic() - started < 30
    assert (polled.json()["status"], polled.headers["Retry-After"]) == ("queued", "1")
    assert sent.status_code == 202
    assert "Preference-Applied" not in sent.headers


def test_no_wait_outlasts_a_proxy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most give a request up after 60 s; what is longer than the bound is taken, and cut short."""
    assert world.runtime.limits.max_wait == timedelta(seconds=55)
    limits = replace(world.runtime.limits, max_wait=timedelta(0))
    monkeypatch.setattr(world.client.app.state, "runtime", replace(world.runtime, limits=limits))  # type: ignore[attr-defined]
    job, started = world.submit(model="ltx-2b"), time.monotonic()

    polled = world.client.get(f"/v1/jobs/{job['id']}?wait=60")
    sent = world.client.post(
        "/generate-video",
        json={"prompt": "x", "model": "ltx-2b"},
        headers={"Prefer": "wait=60"},
    )
    claimed = world.claim(wait=60)

    assert time.monotonic() - started < 30
    assert (polled.status_code, polled.json()["status"]) == (200, "queued")
    assert (sent.status_code, sent.headers["Preference-Applied"]) == (202, "wait=0")
    assert claimed.status_code == 204


def test_a_run_longer_than_a_call_on_modal_is_refused(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.dispatch = "modal"
    limits = rules.limits(settings)
    monkeypatch.setattr(world.client.app.state, "runtime", replace(world.runtime, limits=limits))  # type: ignore[attr-defined]

    refused = world.client.post("/generate-video", json={"prompt": "x", "timeout_seconds": 3601})
    taken = world.client.post("/generate-video", json={"prompt": "x", "timeout_seconds": 3600})

    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert (error["pointer"], "at most 3600" in error["detail"]) == ("/timeout_seconds", True)
    assert taken.status_code == 202


def test_what_was_accepted_is_found_again_after_its_limit_was_lowered(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"Idempotency-Key": "scene-1"}
    ask = {"prompt": "x", "timeout_seconds": 7200}
    first = world.client.post("/generate-video", json=ask, headers=named)
    settings.dispatch = "modal"
    limits = rules.limits(settings)
    monkeypatch.setattr(world.client.app.state, "runtime", replace(world.runtime, limits=limits))  # type: ignore[attr-defined]

    again = world.client.post("/generate-video", json=ask, headers=named)
    new = world.client.post("/generate-video", json=ask, headers={"Idempotency-Key": "scene-2"})
    other = world.client.post("/generate-video", json={**ask, "prompt": "y"}, headers=named)

    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert new.json()["errors"][0]["pointer"] == "/timeout_seconds"
    assert other.json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(("asked", "most"), [(60, 3600), (7200, 7200), (86_340, 86_340)])
def test_a_call_may_run_as_long_as_the_owner_wants(
    settings: Settings, asked: int, most: int
) -> None:
    settings.dispatch, settings.job_timeout_seconds = "modal", asked

    limits = rules.limits(settings)

    assert limits.max_timeout.total_seconds() == most
    assert limits.default_timeout.total_seconds() == asked


def test_no_attempt_may_run_longer_than_a_call_of_modal() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 86340"):
        Settings(_env_file=None, job_timeout_seconds=86_400)
