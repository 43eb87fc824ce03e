"""An avatar that speaks with a voice of ElevenLabs, through the whole service."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.domain.attempt import speech_keys
from service.domain.ids import JobId
from tests.journey.service import KEY as ADMIN
from tests.journey.service import Running, running
from tests.speech.provider import KEY, VOICE, Provider, problem, serve, speech

pytestmark = pytest.mark.slow

FACE = Path(__file__).parents[1] / "workers" / "puppet" / "data" / "presenter.png"
TEXT = "Hello there, and welcome to all of you."


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with serve() as provider:
        yield provider


@pytest.fixture(scope="module")
def service(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELEVENLABS_API_KEY", KEY)
        options: dict[str, Any] = {"elevenlabs_url": provider.url, "running_lease_seconds": 2}
        folder = tmp_path_factory.mktemp("speech")
        with running(folder, models=["puppet"], log_level="debug", **options) as found:
            yield found


@pytest.fixture(autouse=True)
def _at_first(provider: Provider) -> None:
    provider.requests.clear()
    provider.respond = speech


def submit(service: Running, text: str = TEXT) -> str:
    with FACE.open("rb") as photo:
        answer = service.client.post(
            "/generate-avatar",
            data={"text": text, "voice": f"elevenlabs-{VOICE}", "width": "256", "height": "256"},
            files={"reference_image": ("face.png", photo, "image/png")},
        )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_a_text_becomes_a_video_with_captions_in_time(service: Running, provider: Provider) -> None:
    with FACE.open("rb") as photo:
        answer = service.client.post(
            "/generate-avatar",
            data={"text": TEXT, "voice": f"elevenlabs-{VOICE}", "captions": '{"format": "json"}'},
            files={"reference_image": ("face.png", photo, "image/png")},
        )
    job = service.wait(answer.json()["id"])

    assert job["status"] == "succeeded", service.log()
    assert job["result"]["duration_seconds"] == pytest.approx(len(TEXT) * 0.1, abs=0.05)
    assert job["result"]["has_audio"]
    captions = service.client.get(job["result"]["captions_url"]).json()
    assert [caption["text"].strip() for caption in captions][:2] == ["Hello", "there,"]
    assert captions[1]["startMs"] == pytest.approx(600, abs=20)
    assert len(provider.requests) == 1
    assert job["cost"]["speech"].keys() == {"provider", "characters", "usd"}
    usd = job["cost"]["speech"]["usd"]
    assert usd > 0
    assert job["cost"]["actual_usd"] == pytest.approx(usd)


def test_an_admin_sees_the_quota_of_the_account(service: Running) -> None:
    job = service.wait(submit(service))

    with httpx.Client(base_url=service.client.base_url, follow_redirects=True) as browser:
        browser.post("/admin/login", data={"key": ADMIN}).raise_for_status()
        page = browser.get(f"/admin/jobs/{job['id']}").text

    text = " ".join(re.sub("<[^>]+>", " ", page).split())
    assert "then 1,250 of 100,000 characters of the account were used" in text
    assert "until 2027-01-15 08:00:00 UTC" in text


def test_a_provider_without_room_holds_no_worker(service: Running, provider: Provider) -> None:
    busy = [problem(429, "too many requests", ("Retry-After", "4"))]
    provider.respond = lambda request: busy.pop() if busy else speech(request)

    waits = submit(service)
    service.until(waits, lambda job: job["stage_detail"] is not None)
    other = service.wait(submit(service, "Me first."))
    job = service.wait(waits)

    assert (other["status"], other["attempts"]) == ("succeeded", 1), service.log()
    assert (job["status"], job["attempts"]) == ("succeeded", 1)
    assert len([one for one in provider.requests if TEXT in one.body.decode()]) == 2


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_a_worker_that_dies_after_the_speech_costs_no_second_one(
    service: Running, provider: Provider
) -> None:
    job_id = submit(service, "One, two, three, four. " * 20)
    service.until(job_id, lambda job: job["status"] == "running")
    (worker,) = service.children("worker")
    os.kill(worker, signal.SIGKILL)

    job = service.wait(job_id)

    assert (job["status"], job["attempts"]) == ("succeeded", 2), service.log()
    assert len(provider.requests) == 1
    sound, _ = speech_keys(JobId(job_id))
    assert (service.folder / "data" / "artifacts" / sound).exists()


def test_the_key_is_in_no_file_and_no_log(service: Running) -> None:
    service.wait(submit(service))
    found = [
        path
        for path in service.folder.rglob("*")
        if path.is_file() and KEY.encode() in path.read_bytes()
    ]

    assert found == []
    (worker,) = service.children("worker")
    assert KEY.encode() not in Path(f"/proc/{worker}/environ").read_bytes()
