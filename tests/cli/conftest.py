"""One real service for all tests of the command line, and a way to run `rushes` against it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

RUSHES = [sys.executable, "-m", "service.cli.main"]
TINY = "--width 64 --height 64 --frames 4".split()
LONG = "--width 1280 --height 720 --seconds 120 --fps 60".split()  # minutes: never waited for


def clean_environment(**settings: Any) -> dict[str, str]:
    """Ours without any setting of Rushes, plus those given."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("RUSHES_")}
    return kept | {f"RUSHES_{name.upper()}": str(value) for name, value in settings.items()}


def hear_ctrl_c() -> None:
    """Whoever runs the tests in the background has SIGINT ignored, which children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Rushes:
    """Runs the real command line in `folder`; `settings` are its environment."""

    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*RUSHES, *words],
            cwd=self.folder,
            env=clean_environment(**(self.settings | settings)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """In the background; the caller ends it."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [*RUSHES, *words],
            cwd=self.folder,
            env=clean_environment(**self.settings),
            text=True,
            preexec_fn=hear_ctrl_c,
            **(pipes | more),
        )


@contextmanager
def running(folder: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`rushes up` on a free port, and its address. It ends with us, however we end (--child)."""
    up = Rushes(folder).start(
        *"up --port 0 --data-dir data --workers 1 --child".split(),
        *flags,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with up:
        assert up.stdout is not None
        lines = (line.split() for line in up.stdout)
        yield up, next((words[1] for words in lines if words[0] == "ready"), "not ready")
        up.terminate()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a command needs to know of the one service that all these tests share."""
    folder = tmp_path_factory.mktemp("service")
    with running(folder) as (_up, url):
        yield {"url": url, "data_dir": folder / "data"}


@pytest.fixture
def rushes(service: dict[str, Any], tmp_path: Path) -> Rushes:
    """The command line, in a folder of its own, talking to the shared service."""
    return Rushes(tmp_path, service)


@pytest.fixture
def alone(tmp_path: Path) -> Rushes:
    """The command line, with no service anywhere."""
    return Rushes(tmp_path, {"url": "http://127.0.0.1:9"})  # the discard port: nobody listens
