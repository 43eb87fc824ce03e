"""`make up-modal`: started as a person does, used, and stopped by Ctrl-C."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from dev.loopback_modal.harness import leftovers
from tests.modal.conftest import MARKS
from tests.modal.live import CHECKOUT, SMALL, Json, calling

START_SECONDS = 900  # on a machine that does much else

pytestmark = [*MARKS, pytest.mark.timeout(2 * START_SECONDS)]


@dataclass
class Up:
    process: subprocess.Popen[str]
    log: Path

    def printed(self, pattern: str) -> str:
        """What the pattern's group matches, once it was printed."""
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(pattern, self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)
        return found[1]

    def ctrl_c(self) -> int:
        """As a terminal does it: everything that was started from it gets the signal."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(START_SECONDS)


@pytest.fixture
def up(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Up]:
    log = tmp_path / "printed"
    # What is set for a real service is none of its business, in the environment or a file.
    (tmp_path / ".env").write_text(
        "RUSHES_DATABASE_URL=postgresql://me:x@127.0.0.1:9/real\nRUSHES_S3_BUCKET=real\n"
    )
    with log.open("w") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.up_modal", "--port", "0", *request.param],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), "RUSHES_PORT": "no number"},
            stdout=printed,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    yield Up(process, log)
    if process.poll() is None:
        process.terminate()
        process.wait(START_SECONDS)


@pytest.mark.parametrize(
    ("up", "models"),
    [([], {"slate", "ltx-2b"}), (["--postgres"], {"slate"})],
    indirect=["up"],
    ids=["sqlite", "postgres"],
)
def test_models_make_clips_until_ctrl_c_which_leaves_nothing_behind(
    up: Up, models: set[str]
) -> None:
    url = up.printed(r"is running at (\S+)\n")
    key = up.printed(r"your API key.*: (rsh_\S+)\n")
    folder = Path(up.printed(r"Containers' logs: (\S+)/modal/tasks/"))

    with calling(url, key) as client:
        ends = {model: made(client, model) for model in models}
    assert {job["status"] for job in ends.values()} == {"succeeded"}, ends

    assert leftovers(folder / "modal"), "containers run"
    assert up.ctrl_c() == 0
    assert up.log.read_text().endswith("Stopped.\n"), up.log.read_text()
    assert leftovers(folder / "modal") == []
    assert not folder.exists()


def made(client: httpx.Client, model: str) -> Json:
    size = {**SMALL, "num_frames": 9}  # both can make it
    answer = client.post("/generate-video", json={**size, "model": model})
    assert answer.status_code == 202, answer.text
    job: Json = answer.json()
    deadline = time.monotonic() + START_SECONDS
    while not job["finished_at"] and time.monotonic() < deadline:
        job = client.get(f"/v1/jobs/{job['id']}", params={"wait": 20}).json()
    return job


def test_a_port_that_is_taken_is_told_before_anything_starts() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        refused = subprocess.run(
            [sys.executable, "-m", "scripts.up_modal", "--port", str(port)],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    assert refused.returncode == 1
    assert refused.stdout.startswith(f"port {port} is in use; stop the other process, or")
    assert refused.stderr == ""
