"""The deployment script on Modal's own client and container runtime, against our loopback."""

import time

import httpx
from standardwebhooks import Webhook

from tests.modal.conftest import MARKS
from tests.modal.live import LONG, Live
from tests.webhooks.receiver import Receiver, body_of

pytestmark = MARKS


def test_a_prompt_goes_in_over_http_and_an_mp4_comes_out_of_the_volume(
    live: Live, receiver: Receiver
) -> None:
    job = live.submit(webhook_url=receiver.url("ok"))

    done = live.done(job["id"])

    assert done["status"] == "succeeded", done
    clip = httpx.get(done["result"]["video_url"], headers={"Range": "bytes=0-99"})
    assert (clip.status_code, clip.content[4:8]) == (206, b"ftyp")
    assert len(live.clips(job["id"])) == 1
    secret = live.client.get("/v1/webhook-secret").json()["secret"]
    deadline = time.monotonic() + 20
    while not receiver.got("ok"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (got,) = receiver.got("ok")
    assert Webhook(secret).verify(body_of(got), got["headers"])["type"] == "job.succeeded"


def test_a_running_job_is_canceled_and_its_container_stays_warm(live: Live) -> None:
    job = live.submit(**LONG)
    live.at_work(job["id"])
    (before,) = live.containers()

    live.cancel(job["id"])
    assert live.done(job["id"])["status"] == "canceled"

    again = live.done(live.submit()["id"])
    assert again["status"] == "succeeded"
    (after,) = live.containers()
    assert after["task"] == before["task"]
    assert [call["status"] for call in live.calls(job["id"])] == ["TERMINATED"]
    assert live.clips(job["id"]) == []
