"""`rushes up` as a process: what it refuses, how it stops, what it starts again."""

import fcntl
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.cli.conftest import Rushes, running

pytestmark = pytest.mark.slow


def children(parent: int) -> list[int]:
    shown = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in shown.stdout.splitlines()]
    return sorted(int(pid) for pid, of, stat in rows if int(of) == parent and stat[0] != "Z")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(true: Callable[[], bool], seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_taken_port_or_data_directory_is_told_in_one_line(tmp_path: Path) -> None:
    with running(tmp_path) as (up, url):
        port = url.rpartition(":")[2]
        second = Rushes(tmp_path)

        same_data = second("up", "--port", "0", "--data-dir", "data")
        same_port = second("up", "--port", port, "--data-dir", "other")
        started = children(up.pid)
        up.send_signal(signal.SIGTERM)

        assert up.wait(60) == 0
    assert (same_data.returncode, same_port.returncode) == (1, 1)
    assert same_data.stderr.startswith("rushes cannot start: another service runs on ")
    assert same_port.stderr.startswith(f"rushes cannot start: cannot listen on 127.0.0.1:{port}")
    assert (same_data.stderr + same_port.stderr).count("\n") == 2
    assert len(started) == 2
    assert not any(map(alive, started))


def test_nobody_else_can_look_into_the_data_directory(tmp_path: Path) -> None:
    """It holds the secrets of webhooks, the videos and the first key."""
    earlier = tmp_path / "data"
    earlier.mkdir(mode=0o755)

    with running(tmp_path):
        mode = stat.S_IMODE(earlier.stat().st_mode)

    assert mode == 0o700


def test_ctrl_c_stops_it_and_its_children(tmp_path: Path) -> None:
    with running(tmp_path) as (up, _url):
        assert eventually(lambda: len(children(up.pid)) == 2)
        started = children(up.pid)

        up.send_signal(signal.SIGINT)

        assert up.wait(60) == 0
    assert not any(map(alive, started))


def test_what_dies_is_started_again_and_nothing_outlives_it(tmp_path: Path) -> None:
    with running(tmp_path) as (up, url):
        assert eventually(lambda: len(children(up.pid)) == 2)
        api, worker = children(up.pid)

        os.kill(worker, signal.SIGKILL)
        assert eventually(lambda: len(set(children(up.pid)) - {api, worker}) == 1)
        os.kill(api, signal.SIGKILL)
        assert eventually(lambda: len(set(children(up.pid)) - {api, worker}) == 2)
        with urlopen(f"{url}/readyz", timeout=120) as answer:  # the port was never let go
            assert answer.status == 200

        last = children(up.pid)
        up.kill()
        assert eventually(lambda: not any(map(alive, last)))


def test_an_api_that_outlives_its_supervisor_still_keeps_others_from_its_data(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as (up, _url):
        assert eventually(lambda: len(children(up.pid)) == 2)
        api, worker = children(up.pid)
        os.kill(api, signal.SIGSTOP)  # else it would notice, and end
        try:
            up.kill()
            up.wait()
            assert eventually(lambda: not alive(worker))

            assert not is_free(tmp_path / "data" / "lock")
        finally:
            os.kill(api, signal.SIGKILL)
        assert eventually(lambda: is_free(tmp_path / "data" / "lock"))


def is_free(lock: Path) -> bool:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_it_says_where_it_listens_and_what_waits_when_it_stops(tmp_path: Path) -> None:
    """Another port needs no flag for the commands of the same data directory."""
    here = Rushes(tmp_path, {"data_dir": tmp_path / "data"})
    up = Rushes(tmp_path).start(*"up --port 0 --data-dir data --workers 0".split())
    with up:
        assert up.stdout is not None
        greeting: list[str] = []
        while not (greeting and greeting[-1].startswith("ready ")):
            greeting.append(up.stdout.readline())
        submitted = here("video", "A cat", "--no-wait")
        up.send_signal(signal.SIGINT)
        farewell = up.stdout.read()

    url = greeting[-1].split()[1]
    assert f"documentation: {url}/docs\n" in greeting
    assert any("RUSHES_DATA_DIR=data .venv/bin/rushes video" in line for line in greeting)
    assert submitted.stdout.startswith("job_"), submitted.stderr
    assert farewell == "stopped; 1 unfinished job runs again at the next start\n"
    assert here("jobs").returncode == 6  # the address is forgotten
