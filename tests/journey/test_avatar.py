"""A text and a photo become a talking presenter, through the whole service."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.domain.models.catalog import PUPPET
from service.workers.stages.mp4_index import read_index
from tests import make
from tests.journey.service import KEY, Running, running
from tests.workers.avatars import FACES
from tests.workers.test_encode import decode

pytestmark = pytest.mark.slow

FACE = FACES["anna"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings: dict[str, Any] = {"models": ["slate", "puppet"], "running_lease_seconds": 2}
    with running(tmp_path_factory.mktemp("avatars"), **settings) as found:
        yield found


def rushes(service: Running, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "service.cli.main", *words],
        env={**os.environ, "RUSHES_URL": str(service.client.base_url), "RUSHES_API_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_text_becomes_a_file_on_the_command_line(service: Running, tmp_path: Path) -> None:
    file = tmp_path / "hello.mp4"

    done = rushes(
        service,
        *("avatar", "--text", "Hello from Rushes.", "--image", str(FACE), "-o", str(file)),
        *("--captions", "json", "--burn-in"),
    )

    assert done.returncode == 0, done.stderr + service.log()
    index = read_index(file)
    assert index.track("soun") is not None
    (job,) = service.client.get("/v1/jobs?kind=avatar").json()["data"]
    assert (job["status"], job["sandbox"], job["result"]["has_audio"]) == ("succeeded", False, True)
    assert job["result"]["lip_sync"]["score"] is not None
    captions = service.client.get(job["result"]["captions_url"])
    assert captions.headers["content-type"] == "application/json"
    assert captions.json()[0]["text"] == "Hello"


def test_a_wait_answers_with_the_video_itself(service: Running) -> None:
    with FACE.open("rb") as photo:
        answer = service.client.post(
            "/generate-avatar",
            data={"text": "Hi there, you.", "response_format": "b64_json", "width": "256"},
            files={"reference_image": ("face.png", photo, "image/png")},
            headers={"Prefer": "wait=55"},
        )

    assert answer.status_code == 200, answer.text[:500] + service.log()
    assert set(answer.json()) == {"video", "lip_sync_score", "duration_ms", "generation_time_ms"}


def test_a_photo_without_a_face_fails_by_its_code(service: Running, tmp_path: Path) -> None:
    from PIL import Image

    wall = tmp_path / "wall.png"
    Image.new("RGB", (640, 640), "grey").save(wall)

    done = rushes(service, "avatar", "--text", "Hello.", "--image", str(wall))

    assert done.returncode != 0
    assert "face" in done.stderr


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_a_killed_worker_costs_no_frame(service: Running, tmp_path: Path) -> None:
    text = "One, two, three, four, five, six, seven, eight, nine, and ten. " * 6
    killed = submit(service, text)
    kept = until_kept(service, killed)
    (worker,) = service.children("worker")
    os.kill(worker, signal.SIGKILL)

    rest = service.wait(killed)
    whole = service.wait(submit(service, text))

    assert (rest["status"], rest["attempts"]) == ("succeeded", 2), service.log()
    assert PUPPET.clip_frames is not None
    assert rest["result"]["num_frames"] > 2 * PUPPET.clip_frames
    lines = service.log().splitlines()
    assert len([one for one in lines if "segment loaded" in one and killed in one]) >= kept
    assert np.array_equal(frames(rest, tmp_path), frames(whole, tmp_path))


def submit(service: Running, text: str) -> str:
    body = {"text": text, "width": "256", "height": "256", "seed": "3"}
    with FACE.open("rb") as photo:
        answer = service.client.post(
            "/generate-avatar",
            data=body,
            files={"reference_image": ("face.jpg", photo, "image/jpeg")},
        )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def until_kept(service: Running, job_id: str) -> int:
    """How many segments are stored once there is one."""
    folder = service.folder / "data" / "artifacts" / "jobs" / job_id

    def count() -> int:
        return len(list(folder.glob("*/segments/*.json")))

    service.until(job_id, lambda _: count() > 0)
    return count()


def frames(job: dict[str, Any], folder: Path) -> Any:
    path = folder / f"{job['id']}.mp4"
    path.write_bytes(httpx.get(job["result"]["video_url"]).content)
    return decode(path, make.request(width=256, height=256))
