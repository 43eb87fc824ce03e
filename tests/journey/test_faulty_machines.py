"""A machine that cannot work costs no job: not beside a healthy one, not with its own disk full."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.disks import small_disk
from tests.journey.service import Running, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TOKEN = "a-worker-token-a-worker-token"
JOBS = 60
SECONDS = 600.0  # until something is a failure of the test


@contextmanager
def worker(service: Running, name: str, **environment: str) -> Iterator[None]:
    """`rushes worker` as a process of its own, in the service's data directory."""
    url = str(service.client.base_url)
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli.main", "worker", "--url", url, "--name", name],
        env={
            **os.environ,
            "RUSHES_DATA_DIR": str(service.folder / "data"),
            "RUSHES_MODELS": '["slate"]',
            "RUSHES_WORKER_TOKEN": TOKEN,
            **environment,
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def until(holds: Callable[[], bool], service: Running) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, service.log()
        time.sleep(0.1)


def health(service: Running) -> dict[str, Any]:
    found: dict[str, Any] = service.client.get("/health").json()
    return found


def states(service: Running) -> list[str]:
    found, page = [], {"limit": "100"}
    while True:
        answer = service.client.get("/v1/jobs", params=page).json()
        found += [job["status"] for job in answer["data"]]
        if not answer["has_more"]:
            return found
        page["after"] = answer["last_id"]


def test_a_worker_whose_ffmpeg_does_not_start_costs_no_job_and_comes_back(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.symlink_to("/bin/false")
    with (
        running(tmp_path, "--workers", "0", worker_token=TOKEN) as service,
        worker(service, "broken", IMAGEIO_FFMPEG_EXE=str(program)),
    ):
        ids = [service.submit()["id"] for _ in range(JOBS)]
        # Alone at first, so that it is sure to have met what it cannot do.
        until(lambda: health(service)["unfit_workers"] != [], service)
        (unfit,) = health(service)["unfit_workers"]
        assert unfit["name"] == "broken"
        assert "ffmpeg does not start" in unfit["reason"]
        assert health(service)["status"] == "degraded"

        with worker(service, "healthy"):
            ended = [service.wait(job, SECONDS) for job in ids]

        assert {job["status"] for job in ended} == {"succeeded"}
        program.unlink()
        program.symlink_to(_ffmpeg())
        until(lambda: health(service)["unfit_workers"] == [], service)
        assert service.wait(service.submit()["id"])["status"] == "succeeded"


def _ffmpeg() -> str:
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def fill(folder: Path) -> list[Path]:
    """Take every inode that there is."""
    files = []
    while True:
        file = folder / f"fill-{uuid4().hex}"
        try:
            file.touch()
        except OSError:
            return files
        files.append(file)


def test_a_data_directory_without_inodes_costs_no_job(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with (
        small_disk(data, inodes=1500, megabytes=512),
        running(tmp_path, min_free_bytes=0) as service,
    ):
        ids = [service.submit(num_frames=48)["id"] for _ in range(41)]
        until(lambda: "succeeded" in states(service), service)

        files, answers = fill(data), []

        def is_refused() -> bool:
            files.extend(fill(data))  # what an attempt has left free when it ended
            answers.append(service.client.post("/generate-video", json={"prompt": "x"}))
            return not answers[-1].is_success

        until(lambda: health(service)["status"] == "degraded", service)
        until(is_refused, service)
        ids += [answer.json()["id"] for answer in answers[:-1]]
        assert (answers[-1].status_code, answers[-1].json()["code"]) == (507, "storage_full")
        until(lambda: not {"starting", "running"} & set(states(service)), service)
        assert set(states(service)) == {"succeeded", "queued"}
        for file in files:
            file.unlink()
        assert {service.wait(job, SECONDS)["status"] for job in ids} == {"succeeded"}
        assert health(service)["status"] == "healthy"


def test_a_scratch_without_inodes_stops_its_worker_and_costs_no_job(tmp_path: Path) -> None:
    scratch = tmp_path / "data" / "scratch"
    scratch.mkdir(parents=True)
    with small_disk(scratch, inodes=40), running(tmp_path) as service:
        service.wait(service.submit()["id"])
        files = fill(scratch)

        ids = [service.submit()["id"] for _ in range(20)]

        until(lambda: health(service)["unfit_workers"] != [], service)
        (unfit,) = health(service)["unfit_workers"]
        assert unfit == {"name": "local-1", "reason": "the scratch folder: No space left on device"}
        assert "worker claims no jobs" in service.log()
        assert set(states(service)) == {"succeeded", "queued"}
        for file in files:
            file.unlink()
        assert {service.wait(job, SECONDS)["status"] for job in ids} == {"succeeded"}
        assert "worker claims jobs again" in service.log()
