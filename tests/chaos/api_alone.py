"""The API without its supervisor, which would let one that keeps dying wait ever longer."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.journey.service import KEY

_RUSHES = [sys.executable, "-m", "service.cli.main"]


@dataclass
class ApiAlone:
    """As the supervisor has it: on a socket that stays open, ended when its standard input is."""

    listener: socket.socket
    environment: dict[str, str]
    log: IO[str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def start(self) -> None:
        descriptor = self.listener.fileno()
        self.process = subprocess.Popen(
            [*_RUSHES, "api", "--socket-fd", str(descriptor)],
            env=self.environment,
            pass_fds=[descriptor],
            stdin=subprocess.PIPE,
            stderr=self.log,
        )

    def end(self) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()

    def kill(self) -> None:
        """`kill -9`, and at once a new one."""
        self.end()
        self.start()


@contextmanager
def api_alone(folder: Path, **settings: Any) -> Iterator[ApiAlone]:
    values = {"data_dir": str(folder), "bootstrap_key": KEY, "models": ["slate"], **settings}
    environment = dict(os.environ)
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        environment[f"RUSHES_{name.upper()}"] = text
    subprocess.run([*_RUSHES, "migrate"], env=environment, check=True, stdout=subprocess.DEVNULL)
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1024) as listener,
        (folder / "log").open("w") as log,
    ):
        api = ApiAlone(listener, environment, log)
        api.start()
        try:
            yield api
        finally:
            api.end()
