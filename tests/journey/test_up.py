"""The whole service as its owner runs it."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import imageio_ffmpeg
import pytest

from service.workers.stages.mp4_index import read_index
from tests.journey.service import Running, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc"),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("up")) as found:
        yield found


def test_a_prompt_goes_in_and_an_mp4_comes_out(service: Running, tmp_path: Path) -> None:
    job = service.submit(
        prompt="A serene mountain landscape with flowing water",
        width=768,
        height=512,
        num_frames=None,
        duration_seconds=5,
        seed=11,
    )
    done = service.wait(job["id"])

    assert done["status"] == "succeeded", done
    content = httpx.get(done["result"]["video_url"]).content  # no key: a signed link
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    (track,) = read_index(path).tracks
    asked = done["input"]
    assert (asked["num_frames"], asked["fps"]) == (120, 24)
    assert track.samples == 120
    assert track.duration / track.timescale == 120 / 24
    assert content.index(b"moov") < content.index(b"mdat")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "768x512" in said
    assert "24 fps" in said
    assert job["id"] in said
    assert "sandbox" in said


def test_the_same_seed_makes_the_same_video_and_another_does_not(service: Running) -> None:
    jobs = [service.submit(seed=seed, num_frames=3)["id"] for seed in (5, 5, 6)]

    first, same, other = (service.wait(job)["result"] for job in jobs)

    # The file names its job, so that the pictures are compared, not the files.
    stills = [httpx.get(made["last_frame_url"]).content for made in (first, same, other)]
    assert stills[0] == stills[1]
    assert stills[0] != stills[2]


def test_a_long_video_is_canceled_while_it_runs(service: Running) -> None:
    job = service.submit(width=1280, height=1280, num_frames=None, duration_seconds=100)
    service.until(job["id"], lambda job: job["stage"] == "generate" and job["progress"] > 0)

    wish = service.client.post(f"/v1/jobs/{job['id']}/cancel")
    canceled = service.wait(job["id"], seconds=10)

    assert wish.status_code == 202
    assert canceled["status"] == "canceled"
    assert service.wait(service.submit()["id"])["status"] == "succeeded"


def test_a_killed_worker_is_started_again_and_its_job_is_not_lost(tmp_path: Path) -> None:
    with running(tmp_path, running_lease_seconds=2) as service:
        job = service.submit(width=1280, height=1280, num_frames=None, duration_seconds=60)
        service.until(job["id"], lambda job: job["progress"] > 8)
        (worker,) = service.children("worker")

        os.kill(worker, signal.SIGSEGV)  # what a crash of native code looks like

        # The lease of the dead worker lapses; the new one takes the job up.
        again = service.until(job["id"], lambda job: job["attempts"] == 2, seconds=60)
        assert service.children("worker") != [worker]
        assert service.client.get("/livez").status_code == 200
        service.client.post(f"/v1/jobs/{job['id']}/cancel")
        assert again["status"] in ("starting", "running")


def test_jobs_outlive_a_killed_api(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "0") as service:
        ids = [service.submit()["id"] for _ in range(20)]
        (api,) = service.children("api")

        os.kill(api, signal.SIGKILL)

        deadline = time.monotonic() + 30
        while True:
            try:
                listed = service.client.get("/v1/jobs?limit=100").json()["data"]
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline
        assert {job["id"] for job in listed} == set(ids)


def test_sigterm_ends_everything_cleanly_and_the_work_goes_on_later(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        job = service.submit(width=1280, height=1280, num_frames=None, duration_seconds=100)
        service.until(job["id"], lambda job: job["progress"] > 0)
        children = service.children("worker") + service.children("api")

        service.process.terminate()

        assert service.process.wait(20) == 0
        assert not any(Path(f"/proc/{child}").exists() for child in children)

    with running(tmp_path, "--workers", "0") as service:
        handed_back = service.job(job["id"])
        assert (handed_back["status"], handed_back["attempts"]) == ("queued", 1)


def test_children_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        children = service.children("worker") + service.children("api")
        assert len(children) == 2

        service.process.kill()
        service.process.wait()

        deadline = time.monotonic() + 20
        while any(Path(f"/proc/{child}").exists() for child in children):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_two_workers_share_the_work(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "2") as service:
        deadline = time.monotonic() + 30
        while service.client.get("/health").json()["models"][0]["workers"] < 2:
            assert time.monotonic() < deadline, service.log()
            time.sleep(0.1)

        jobs = [service.submit()["id"] for _ in range(6)]

        assert {service.wait(job)["status"] for job in jobs} == {"succeeded"}
