import shutil
import time
from collections import namedtuple

import pytest
from fastapi.testclient import TestClient

from service.api import room
from service.api.pace import Pace
from service.app import build
from service.domain.errors import RateLimited
from service.domain.job import KeyId
from service.settings import Settings
from tests.api.world import KEY, World


def test_a_key_that_asks_too_often_is_told_when_to_come_back(settings: Settings) -> None:
    settings.max_submits_per_second = 0.1
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        world = World(client)
        other = {"Authorization": f"Bearer {world.other_key()}"}
        key_id = client.get("/v1/keys").json()["data"][0]["id"]
        world.parts.submits._bucket(key_id, time.monotonic()).tokens = 1.5
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
    world.parts.requests._per_second = 0.1
    world.parts.requests._bucket(key_id, time.monotonic()).tokens = 0

    refused = world.client.get("/v1/jobs")

    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert world.client.get("/health").status_code == 200


def test_a_bucket_holds_a_burst_and_fills_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    pace, key_id = Pace(10, "requests"), KeyId("k")
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
    pace = Pace(0, "requests")

    for _ in range(5000):
        pace.spend(KeyId("k"))


def test_a_nearly_full_disk_takes_no_job_and_begins_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12 - 10**6, 10**6))
    monkeypatch.setattr(room, "_LOOK_SECONDS", 0)
    world.parts.room._good_until = 0.0

    refused = world.client.post("/generate-video", json={"prompt": "x"})

    assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
    assert "1,000,000 bytes are free" in refused.json()["detail"]
    assert refused.headers["Retry-After"] == "60"
    assert world.claim().status_code == 204
    assert world.job(job["id"])["status"] == "queued"
    monkeypatch.undo()
    world.parts.room._good_until = 0.0
    assert world.claim().status_code == 200
