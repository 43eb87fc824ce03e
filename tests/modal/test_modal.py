"""The deployment script on Modal's own client and container runtime, against our loopback."""

import base64
import io
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import sqlalchemy as sa
from PIL import Image
from standardwebhooks import Webhook

from service.store.schema import migrate
from tests.conftest import new_database
from tests.modal.conftest import MARKS
from tests.modal.live import CHECKOUT, LONG, Live, at_most, secrets
from tests.webhooks.receiver import Receiver, body_of
from tests.workers.inputs.pictures import gradient, saved

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


def test_the_tick_wakes_a_service_that_sleeps(live: Live) -> None:
    live.crash("api")

    tick = live.cloud.get("tick", function="tick", app=live.app)["id"]

    assert live.cloud.finished(tick)["status"] == "SUCCESS"
    assert live.containers("api")
    assert live.cloud.functions(live.app)["tick"]["definition"]["schedule"]["cron"]


def test_a_hundred_submits_at_once_and_a_thousand_polls_go_through_one_container(
    live: Live,
) -> None:
    live.crash("api")
    with at_most(live, 1, "api"), ThreadPoolExecutor(100) as pool:
        hold_still(live)
        ids = list(pool.map(lambda seed: live.submit(seed=seed)["id"], range(100)))
        polled = list(pool.map(live.job, ids * 10))
        containers = live.containers("api")
        list(pool.map(live.cancel, ids))
        live.crash()
        ends = [live.done(job_id)["status"] for job_id in ids]

    assert len(set(ids)) == 100
    assert len(polled) == 1000
    assert set(ends) == {"canceled"}
    assert len(containers) == 1


def test_requests_that_are_held_leave_a_container_to_others(live: Live) -> None:
    with at_most(live, 1, "api"), ThreadPoolExecutor(110) as pool:
        hold_still(live)
        job = live.submit()["id"]
        held = [pool.submit(live.client.get, f"/v1/jobs/{job}?wait=60") for _ in range(110)]
        deadline = time.monotonic() + 40
        while sum(one.done() for one in held) < 80 and time.monotonic() < deadline:
            time.sleep(0.05)

        alive = live.client.get("/livez", timeout=10)
        waiting = sum(not one.done() for one in held)
        live.cancel(job)
        live.crash()

    assert alive.status_code == 200
    assert waiting == 30
    ends = Counter(one.result().json()["status"] for one in held)
    assert ends["canceled"] == 30


def test_requests_that_hung_up_are_held_no_longer(live: Live) -> None:
    def hang_up(path: str) -> None:
        with suppress(httpx.ReadTimeout):
            live.client.get(path, timeout=4)

    with at_most(live, 1, "api"), ThreadPoolExecutor(30) as pool:
        hold_still(live)
        job = live.submit()["id"]
        list(pool.map(hang_up, [f"/v1/jobs/{job}?wait=60"] * 30))  # all the places of one key
        deadline = time.monotonic() + 30
        held = 0.0
        while held < 1 and time.monotonic() < deadline:
            began = time.monotonic()
            answer = live.client.get(f"/v1/jobs/{job}?wait=1")
            held = time.monotonic() - began
        live.cancel(job)
        live.crash()

    assert held >= 1
    assert answer.json()["finished_at"] is None


def hold_still(live: Live) -> None:
    """Workers would take the processors that the api is to have: each stops in its first clip."""
    jobs = [live.submit(**LONG) for _ in range(2)]
    for job in jobs:
        live.at_work(job["id"])
        live.cancel(job["id"])
    for job in jobs:
        live.done(job["id"])
    for container in live.containers():
        os.kill(container["pid"], signal.SIGSTOP)


def test_the_api_answers_without_torch(live: Live, postgres: sa.URL) -> None:
    """From the import to the first answer, as in a container. How long that takes is for
    benchmarks/start.py."""
    url = new_database(postgres)
    migrate(url)
    told = {**secrets(url), "RUSHES_DISPATCH": "modal", "RUSHES_PUBLIC_URL": "http://127.0.0.1"}
    env = live.cloud.env | told | {"RUSHES_MODELS": '["slate", "ltx-2b"]'}

    loaded = first_answer(env)

    assert "service.app" in loaded
    assert not {"torch", "diffusers", "transformers", "PIL", "numpy"} & loaded
    assert live.client.get("/livez").status_code == 200
    api = live.containers("api")[0]
    assert "libtorch" not in Path(f"/proc/{api['pid']}/maps").read_text()


def first_answer(env: dict[str, str]) -> set[str]:
    """The modules that the API has loaded when it has answered once."""
    command = [sys.executable, "-c", FIRST_ANSWER]
    done = subprocess.run(command, env=env, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


FIRST_ANSWER = """
import asyncio, sys
import modal._container_entrypoint

async def answer(app):
    import httpx
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            assert (await client.get("/livez")).status_code == 200

from scripts.modal_text_to_video import api
asyncio.run(answer(api.local()))
print(*sys.modules, sep="\\n")
"""
