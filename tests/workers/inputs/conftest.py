import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workers.inputs import films


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes each of films.RECIPES once."""
    folder = tmp_path_factory.mktemp("films")

    def made(name: str) -> Path:
        path = folder / name
        return path if path.exists() else films.make(name, folder)

    return made


@dataclass(frozen=True)
class Canary:
    """A file that blocks for ever whoever opens it, and a port that remembers who connected."""

    path: Path
    port: int
    listener: socket.socket

    def heard(self) -> bool:
        try:
            self.listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    pipe = tmp_path / "canary.wav"
    os.mkfifo(pipe)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield Canary(pipe, listener.getsockname()[1], listener)
