"""A text and a photo become a talking presenter, through the whole service."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.workers.stages.mp4_index import read_index
from tests.journey.service import KEY, Running, running

pytestmark = pytest.mark.slow

FACE = Path(__file__).parents[1] / "workers" / "puppet" / "data" / "presenter.png"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("avatars"), models=["slate", "puppet"]) as found:
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
