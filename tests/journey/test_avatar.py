"""A text and a photo become a talking presenter, through the whole service."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.domain.models.catalog import PUPPET
from service.workers.puppet.lip_sync import track_mouth
from service.workers.stages.mp4_index import read_index
from tests import make
from tests.journey.service import KEY, Running, running
from tests.speech.sound import levels
from tests.workers.avatars import FACES, heard, speak, write_wav
from tests.workers.puppet.faces import presenter
from tests.workers.test_avatar_evidence import CLOSED, TWISTER, delay
from tests.workers.test_avatar_refusals import two_silent_hours
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


def test_a_recording_is_kept_and_the_lips_move_with_it(service: Running, tmp_path: Path) -> None:
    spoken = speak(TWISTER)
    deeper = round(spoken.rate * 0.8)  # and slower
    voice = write_wav(levels(spoken), deeper, tmp_path / "voice.wav")
    source = heard(voice)

    job = service.wait(submit(service, FACE.read_bytes(), audio=voice.read_bytes()))

    assert job["status"] == "succeeded", service.log()
    result, file = job["result"], tmp_path / "video.mp4"
    file.write_bytes(httpx.get(result["video_url"]).content)
    index, num_frames = read_index(file), ceil(len(source) / 48_000 * 25)
    sound = index.track("soun")
    assert index.tracks[0].samples == result["num_frames"] == num_frames
    assert sound is not None
    assert sound.duration == num_frames * 48_000 // 25
    after = heard(file)
    assert abs(delay(source, after)) < 48
    both = [each[: len(source), 0].astype(float) for each in (source, after)]
    assert np.corrcoef(*both)[0, 1] > 0.95
    assert result["lip_sync"]["score"] > 0.9
    assert abs(result["lip_sync"]["offset_ms"]) < 80
    assert np.ptp(track_mouth(file)) > 5 * CLOSED


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


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_no_input_ends_the_worker(service: Running, tmp_path: Path) -> None:
    before = service.children("worker")
    inputs = {
        "no face": ({"text": "Hello."}, png(np.full((640, 640, 3), 128, np.uint8))),
        "two faces": ({"text": "Hello."}, png(np.hstack([presenter(), presenter()]))),
        "a broken photo": ({"text": "Hello."}, FACE.read_bytes()[:9000]),
        "two silent hours": ({"audio": two_silent_hours(tmp_path).read_bytes()}, FACE.read_bytes()),
        "noise": ({"audio": b"OggS" + bytes(range(256)) * 40}, FACE.read_bytes()),
    }

    jobs = [service.wait(submit(service, photo, **words)) for words, photo in inputs.values()]
    good = service.wait(submit(service, FACE.read_bytes(), text="Hello."))

    assert [job["error"]["code"] for job in jobs] == [
        *("face_not_found", "several_faces", "image_unreadable"),
        *("media_too_long", "media_unreadable"),
    ]
    assert all(job["error"]["kind"] == "user" and job["attempts"] == 1 for job in jobs)
    assert good["status"] == "succeeded"
    assert service.children("worker") == before


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_a_killed_worker_costs_no_frame(service: Running, tmp_path: Path) -> None:
    text = "One, two, three, four, five, six, seven, eight, nine, and ten. " * 6
    killed = submit(service, FACE.read_bytes(), text=text)
    kept = until_kept(service, killed)
    (worker,) = service.children("worker")
    os.kill(worker, signal.SIGKILL)

    rest = service.wait(killed)
    whole = service.wait(submit(service, FACE.read_bytes(), text=text))

    assert (rest["status"], rest["attempts"]) == ("succeeded", 2), service.log()
    assert PUPPET.clip_frames is not None
    assert rest["result"]["num_frames"] > 2 * PUPPET.clip_frames
    lines = service.log().splitlines()
    assert len([one for one in lines if "segment loaded" in one and killed in one]) >= kept
    assert np.array_equal(frames(rest, tmp_path), frames(whole, tmp_path))


def submit(service: Running, photo: bytes, text: str = "", audio: bytes = b"") -> str:
    files = {"reference_image": ("face", photo)} | ({"audio": ("voice", audio)} if audio else {})
    body = {"width": "256", "height": "256", "seed": "3"} | ({"text": text} if text else {})
    answer = service.client.post("/generate-avatar", data=body, files=files)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def png(photo: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    return file.getvalue()


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
