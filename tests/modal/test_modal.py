"""The deployment script on Modal's own client and container runtime, against our loopback."""

import base64
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from standardwebhooks import Webhook

from dev.loopback_modal.harness import LoopbackModal, loopback_modal, why_not
from tests.webhooks.receiver import Receiver, body_of, receiving
from tests.workers.inputs.pictures import gradient, saved

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]

KEY = "a-key-for-modal-a-key-for-modal"
SCRIPT = "scripts/modal_text_to_video.py"
SMALL = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 2}
LONG = {
    "prompt": "a red ball",
    "width": 1280,
    "height": 1280,
    "num_frames": None,
    "duration_seconds": 100,
}


@dataclass
class Live:
    """A deployed service."""

    cloud: LoopbackModal
    client: httpx.Client

    def submit(self, **ask: Any) -> dict[str, Any]:
        answer = self.client.post("/generate-video", json={**SMALL, **ask})
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.client.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def until(self, job_id: str, holds: Any, seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not holds(job := self.job(job_id)):
            assert time.monotonic() < deadline, f"{job}\n{self.cloud.story()}"
            time.sleep(0.1)
        return job

    def done(self, job_id: str, seconds: float = 90) -> dict[str, Any]:
        return self.until(job_id, lambda job: job["finished_at"], seconds)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, kept_postgres_url: str) -> Iterator[Live]:
    secrets = {
        "RUSHES_DATABASE_URL": kept_postgres_url,
        "RUSHES_WORKER_TOKEN": "a-token-for-modal-a-token-for-modal",
        "RUSHES_SECRET": "a-secret-for-modal-a-secret-for-modal",
        "RUSHES_BOOTSTRAP_KEY": KEY,
        "RUSHES_WEBHOOKS_ALLOW_LOOPBACK": "1",
        "RUSHES_RUNNING_LEASE_SECONDS": "3",
    }
    with loopback_modal(tmp_path_factory.mktemp("modal")) as cloud:
        cloud.env["RUSHES_MODELS"] = json.dumps(["slate", "ltx-2b"])
        cloud.modal("secret", "create", "rushes", *(f"{k}={v}" for k, v in secrets.items()))
        cloud.deploy(SCRIPT)
        headers = {"Authorization": f"Bearer {KEY}"}
        url = f"{cloud.http}/web/rushes-api"
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            yield Live(cloud, client)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path / "received") as found:
        yield found


def test_a_prompt_goes_in_over_http_and_an_mp4_comes_out_of_the_volume(
    live: Live, receiver: Receiver
) -> None:
    job = live.submit(webhook_url=receiver.url("ok"))

    done = live.done(job["id"])

    assert done["status"] == "succeeded", done
    clip = httpx.get(done["result"]["video_url"], headers={"Range": "bytes=0-99"})
    assert (clip.status_code, clip.content[4:8]) == (206, b"ftyp")
    files = live.cloud.volumes()["rushes-artifacts"]["files"]
    assert any(job["id"] in name and name.endswith("video.mp4") for name in files)
    secret = live.client.get("/v1/webhook-secret").json()["secret"]
    deadline = time.monotonic() + 20
    while not receiver.got("ok"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (got,) = receiver.got("ok")
    assert Webhook(secret).verify(body_of(got), got["headers"])["type"] == "job.succeeded"


def test_a_picture_and_the_last_frame_of_a_job_reach_the_worker_over_the_volume(live: Live) -> None:
    picture = saved(gradient(size=(64, 64)), "PNG")

    first = live.done(live.submit(image=base64.b64encode(picture).decode())["id"])
    second = live.done(live.submit(image=first["id"])["id"])  # by a container that is warm

    assert (first["status"], second["status"]) == ("succeeded", "succeeded"), (first, second)
    frames = [
        np.asarray(Image.open(io.BytesIO(httpx.get(job["result"]["last_frame_url"]).content)))
        for job in (first, second)
    ]
    shown = np.asarray(gradient(size=(64, 64)))
    for frame in frames:
        assert np.array_equal(frame[:2, :2], shown[:2, :2])
    live.client.delete(f"/v1/jobs/{first['id']}")
    files = live.cloud.volumes()["rushes-artifacts"]["files"]
    kept = [name for name in files if "inputs/" in name]
    assert [name for name in kept if first["id"] in name] == []
    assert any(second["id"] in name for name in kept)


def test_what_is_deployed_is_what_the_catalog_says(live: Live) -> None:
    found = live.cloud.functions()

    assert set(found) == {"api", "tick", "download", "Slate.*", "Ltx2b.*"}
    assert found["api"]["autoscaler"]["max_containers"] == 4
    assert (found["Slate.*"]["gpus"], found["Ltx2b.*"]["gpus"]) == ([""], ["A10", "L40S"])
    worker = found["Slate.*"]["definition"]
    mounts = {m["mount_path"]: m.get("read_only", False) for m in worker["volume_mounts"]}
    assert mounts == {"/artifacts": False, "/compiled": False, "/weights": True}
    assert worker.get("retry_policy", {}).get("retries", 0) == 0
    assert worker["timeout_secs"] == 3600


def test_a_running_job_is_canceled_and_its_container_stays_warm(live: Live) -> None:
    job = live.submit(**LONG)
    live.until(job["id"], lambda job: job["status"] == "running" and job["progress"] > 0)
    (before,) = live.cloud.containers("Slate.*")

    assert live.client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 202
    assert live.done(job["id"])["status"] == "canceled"

    again = live.done(live.submit()["id"])
    assert again["status"] == "succeeded"
    (after,) = live.cloud.containers("Slate.*")
    assert after["task"] == before["task"]


def test_a_container_that_is_killed_loses_no_job(live: Live) -> None:
    job = live.submit(**{**LONG, "duration_seconds": 20})
    live.until(job["id"], lambda job: job["status"] == "running" and job["progress"] > 0)
    (container,) = live.cloud.containers("Slate.*")

    live.cloud.crash(container["task"])

    assert live.done(job["id"], seconds=120)["status"] == "succeeded"
