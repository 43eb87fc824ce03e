"""`rushes up` as a real process, and a client for it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

KEY = "a-journey-key-a-journey-key"


@dataclass
class Running:
    """A service that answers; `process` is its supervisor."""

    process: subprocess.Popen[str]
    client: httpx.Client
    folder: Path
    printed: str = ""  # to standard output, after the start; there once the service has ended

    def submit(self, **ask: Any) -> dict[str, Any]:
        body = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 2, **ask}
        answer = self.client.post("/generate-video", json=body)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}").json()
        return job

    def wait(self, job_id: str, seconds: float = 180) -> dict[str, Any]:
        """The job once it is final."""
        return self.until(job_id, lambda job: job["finished_at"] is not None, seconds)

    def until(
        self, job_id: str, holds: Callable[[dict[str, Any]], bool], seconds: float = 180
    ) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not holds(job := self.job(job_id)):
            assert time.monotonic() < deadline, f"still {job}\n{self.log()}"
            time.sleep(0.05)
        return job

    def children(self, command: str) -> list[int]:
        """Process ids of our children that run this command of the command line."""
        found = []
        for status in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = status.read_bytes().split(b"\0")
                parent = int((status.parent / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended meanwhile
            if parent == self.process.pid and command.encode() in words:
                found.append(int(status.parent.name))
        return found

    def log(self) -> str:
        return (self.folder / "log").read_text()


@contextmanager
def running(folder: Path, *flags: str, **settings: Any) -> Iterator[Running]:
    """Start the service on a free port; ended, if the test has not done so, by SIGTERM."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"bootstrap_key": KEY, "models": ["slate"], "log_level": "info", **settings}
    environment = {
        **os.environ,
        **{
            f"RUSHES_{name.upper()}": v if isinstance(v, str) else json.dumps(v)
            for name, v in values.items()
        },
    }
    command = [sys.executable, "-m", "service.cli.main", "up", "--port", "0"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--data-dir", str(folder / "data"), *flags],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
    try:
        is_json = values.get("log_format") == "json"
        url = _ready_in_log(process, folder) if is_json else _ready(process, folder)
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=url, headers=headers, timeout=70) as client:
            service = Running(process, client, folder)
            yield service
            process.terminate()
            service.printed = process.communicate(timeout=240)[0]
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def _ready(process: subprocess.Popen[str], folder: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("ready "):
            return line.split()[1]
    raise AssertionError(f"did not start: {(folder / 'log').read_text()}")


def _ready_in_log(process: subprocess.Popen[str], folder: Path) -> str:
    while process.poll() is None:
        for line in (folder / "log").read_text().splitlines(keepends=True):
            if line.endswith("\n") and (event := json.loads(line))["event"] == "ready":
                return str(event["url"])
        time.sleep(0.05)
    raise AssertionError(f"did not start: {(folder / 'log').read_text()}")
