"""A presenter speaks on Modal: the api makes the speech, the puppet's Cls the video."""

import base64
from pathlib import Path

import httpx

from service.workers.stages.mp4_index import read_index
from tests.modal.conftest import MARKS
from tests.modal.live import Live
from tests.workers.avatars import FACES

pytestmark = MARKS


def test_a_text_and_a_face_become_a_video_that_speaks(live: Live, tmp_path: Path) -> None:
    face = base64.b64encode(FACES["anna"].read_bytes()).decode()
    answer = live.client.post(
        "/generate-avatar",
        json={"text": "Hello from Rushes.", "reference_image": face, "model": "puppet"},
    )
    assert answer.status_code == 202, answer.text

    job = live.done(answer.json()["id"])

    assert (job["status"], job["attempts"], job["sandbox"]) == ("succeeded", 1, False), job
    (call,) = live.calls(job["id"])
    assert (call["function"], call["status"]) == ("Puppet.*", "SUCCESS")
    assert len(live.containers("Puppet.*")) == 1
    file = tmp_path / "hello.mp4"
    file.write_bytes(httpx.get(job["result"]["video_url"]).content)
    index = read_index(file)
    picture, sound = index.track("vide"), index.track("soun")
    assert picture is not None
    assert sound is not None
    assert job["result"]["lip_sync"]["score"] is not None or job["result"]["lip_sync"]["reason"]
