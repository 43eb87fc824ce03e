"""A service whose output nobody reads, and an API that hangs."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.journey.service import KEY, Running, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc"),
]

SECONDS = 240.0  # until something is a failure of the test


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/livez", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def free_port() -> int:
    """One that no connection is given meanwhile: the system gives those from 32768 on."""
    with socket.socket() as probe:
        while True:
            port = random.randrange(20_000, 32_000)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def pipe_without_reader() -> tuple[int, list[int]]:
    """Its end to write to, and what is to be closed after the test."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer, [writer]


def pipe_that_is_full() -> tuple[int, list[int]]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(1 << 12))
    except BlockingIOError:
        os.set_blocking(writer, True)
    return writer, [reader, writer]


@contextmanager
def unread(folder: Path, output: int) -> Iterator[Running]:
    port = free_port()
    process = subprocess.Popen(
        [*(sys.executable, "-m", "service.cli.main", "up"), "--port", str(port)],
        env={
            **os.environ,
            "RUSHES_DATA_DIR": str(folder / "data"),
            "RUSHES_BOOTSTRAP_KEY": KEY,
            "RUSHES_MODELS": '["slate"]',
            "RUSHES_LOG_LEVEL": "debug",
        },
        stdout=output,
        stderr=output,
        text=True,
    )
    headers = {"Authorization": f"Bearer {KEY}"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
            until(lambda: process.poll() is not None or answers(client))
            assert process.poll() is None
            yield Running(process, client, folder)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)


@pytest.mark.parametrize("broken", [pipe_without_reader, pipe_that_is_full])
def test_a_service_whose_output_nobody_reads_outlives_its_children(
    tmp_path: Path, broken: Callable[[], tuple[int, list[int]]]
) -> None:
    output, ends = broken()
    try:
        with unread(tmp_path, output) as service:
            # Workers start once the API is ready: one that dies before that ends the service.
            until(lambda: len(service.children("worker")) == 1)
            for command in ("api", "worker"):
                until(lambda command=command: len(service.children(command)) == 1)
                (child,) = service.children(command)
                os.kill(child, signal.SIGKILL)
                until(lambda command=command, child=child: (
                    service.children(command) not in ([], [child])
                ))  # fmt: skip
            until(lambda: answers(service.client))

            assert service.wait(service.submit()["id"], SECONDS)["status"] == "succeeded"
            service.process.terminate()
            assert service.process.wait(60) == 0
    finally:
        for end in ends:
            os.close(end)


def test_an_api_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "0", hung_after_seconds=2) as service:
        job = service.submit()
        (hung,) = service.children("api")

        os.kill(hung, signal.SIGSTOP)

        until(lambda: service.children("api") not in ([], [hung]))
        until(lambda: answers(service.client))
        assert service.job(job["id"])["status"] == "queued"
        assert not Path(f"/proc/{hung}").exists()
