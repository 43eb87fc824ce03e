"""`rushes up` as a process: what it refuses, how it stops, what it starts again."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Rushes, running

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cli")]


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


def eventually(true: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_taken_data_directory_is_told_in_one_line(rushes: Rushes) -> None:
    refused = rushes("up", "--port", "0")

    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "another service runs on" in refused.stderr


def test_a_taken_port_is_told_in_one_line(rushes: Rushes) -> None:
    port = str(rushes.settings["url"]).rpartition(":")[2]

    refused = rushes("up", "--port", port, "--data-dir", "other")

    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port}" in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_its_children(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as (up, _url):
        assert eventually(lambda: len(children(up.pid)) == 2)
        started = children(up.pid)

        up.send_signal(number)

        assert up.wait(15) == 0
    assert not any(map(alive, started))


def test_what_dies_is_started_again_and_nothing_outlives_it(tmp_path: Path) -> None:
    with running(tmp_path) as (up, url):
        assert eventually(lambda: len(children(up.pid)) == 2)
        api, worker = children(up.pid)
        client = Rushes(tmp_path, {"url": url, "data_dir": tmp_path / "data"})

        os.kill(worker, signal.SIGKILL)
        assert eventually(lambda: len(set(children(up.pid)) - {api, worker}) == 1)
        os.kill(api, signal.SIGKILL)
        assert eventually(lambda: len(set(children(up.pid)) - {api, worker}) == 2)
        assert client("jobs").returncode == 0  # the port was never let go

        last = children(up.pid)
        up.kill()
        assert eventually(lambda: not any(map(alive, last)))
