"""An owner is killed right after it acknowledged, fifty times: each next one finds all of it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.scale import rounds, tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def lives(tmp_path: Path, migrated: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.offsite.lives", str(tmp_path), str(migrated)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    yield process
    process.communicate(timeout=30)


def facts(lives: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    """What this life tells until it has ended."""
    assert lives.stdin is not None
    assert lives.stdout is not None
    lives.stdin.write("live\n")
    for line in lives.stdout:
        fact = json.loads(line)
        if "ended" in fact:
            return
        yield fact
    raise AssertionError("no more lives")


def test_no_acknowledged_submit_is_lost_when_its_owner_is_killed(
    lives: "subprocess.Popen[str]",
) -> None:
    acknowledged: set[str] = set()
    number = rounds(50, 500)
    for _ in range(number):
        found, fresh = one_life(lives, kill_after="acknowledged")
        assert acknowledged <= found
        assert fresh
        acknowledged |= fresh

    found, _ = one_life(lives, kill_after="found")
    tell("killed owners", rounds=number, acknowledged=len(acknowledged), lost=0)
    assert acknowledged <= found


def one_life(lives: "subprocess.Popen[str]", kill_after: str) -> tuple[set[str], set[str]]:
    """What it found, and what it acknowledged until it was killed, at the first such fact."""
    pid, killed = 0, False
    found: set[str] = set()
    acknowledged: set[str] = set()
    for fact in facts(lives):
        pid = fact.get("pid", pid)
        found |= set(fact.get("found", ()))
        if "acknowledged" in fact:
            acknowledged.add(fact["acknowledged"])
        if pid and kill_after in fact and not killed:
            os.kill(pid, signal.SIGKILL)
            killed = True
    return found, acknowledged
