"""LongCat through the whole service, on a double of its authors' package."""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.workers.stages.mp4_index import read_index
from tests.journey.service import KEY, Running, running
from tests.workers.longcat.weights import DOUBLE, build_double, on_path, path_with_double
from tests.workers.puppet.faces import PRESENTER

pytestmark = pytest.mark.slow

MODELS = ["slate", "longcat", "puppet"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("longcat")
    with on_path(DOUBLE):
        weights = build_double(folder / "weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", path_with_double())
        with running(folder, models=MODELS, weights={"longcat": str(weights)}) as found:
            yield found


def ask(service: Running, **body: Any) -> dict[str, Any]:
    answer = service.client.post("/generate-avatar", json=body)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def photo() -> str:
    return base64.b64encode(PRESENTER.read_bytes()).decode()


def test_a_prompt_of_the_command_line_says_who_is_seen(service: Running) -> None:
    words = ["avatar", "--text", "Hello.", "--prompt", "An old sailor tells a story.", "--no-wait"]

    done = subprocess.run(
        [sys.executable, "-m", "service.cli.main", *words],
        env={**os.environ, "RUSHES_URL": str(service.client.base_url), "RUSHES_API_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    (job,) = service.client.get("/v1/jobs?kind=avatar&limit=1").json()["data"]
    assert job["input"]["prompt"] == "An old sailor tells a story."
    service.client.post(f"/v1/jobs/{job['id']}/cancel")


@pytest.mark.parametrize("with_photo", [True, False], ids=["photo", "no photo"])
def test_a_text_becomes_a_video_with_its_voice(
    service: Running, tmp_path: Path, with_photo: bool
) -> None:
    face = {"reference_image": photo()} if with_photo else {}

    job = ask(service, text="Hello from Rushes.", captions={"format": "vtt"}, **face)
    done = service.wait(job["id"], seconds=240)

    assert (done["status"], done["model"]) == ("succeeded", "longcat"), service.log()
    size = (done["result"]["width"], done["result"]["height"])
    assert size == ((640, 608) if with_photo else (832, 480))  # of a square photo, and of none
    assert done["result"]["made_with"]["lora_multiplier"] == "1"
    video = tmp_path / "video.mp4"
    video.write_bytes(httpx.get(done["result"]["video_url"]).content)
    sound = read_index(video).track("soun")
    assert sound is not None
    assert sound.duration == done["result"]["num_frames"] * 1920
    assert httpx.get(done["result"]["captions_url"]).text.startswith("WEBVTT")


def test_where_its_weights_are_missing_the_puppet_takes_over(
    service: Running, tmp_path: Path
) -> None:
    """The double is still found: the service above has set the path."""
    with running(tmp_path, models=MODELS, weights={"longcat": str(tmp_path)}) as other:
        job = ask(other, text="Hello there.", reference_image=photo())
        done = other.wait(job["id"], seconds=240)
        alone = other.wait(ask(other, text="Hello there.")["id"], seconds=240)

        assert (done["status"], done["model"]) == ("succeeded", "puppet"), other.log()
    (record,) = done["fell_back"]
    assert (record["model"], record["code"]) == ("longcat", "weights_unavailable")
    assert record["changes"]["width"] == {"before": 640, "after": 512}
    assert (alone["status"], alone["error"]["code"]) == ("failed", "weights_unavailable")
