"""`rushes up`: the API and its workers as child processes, restarted when they die."""

import fcntl
import json
import secrets
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import IO
from urllib.parse import urlsplit

from pydantic import SecretStr

from service.cli.config import address
from service.cli.exits import SAID_WHY, CannotStart, Exit
from service.cli.processes.child import Child
from service.cli.processes.upgrade import prepare_database
from service.environment import child_environment, worker_environment
from service.settings import ADDRESS_FILE, Settings

_READY_SECONDS = 60.0
_STOP_SECONDS = 12.0  # a worker releases its attempt within one step
_API_STOP_SECONDS = 25.0  # responses end within 5 s, and texts that are being spoken within 15


@dataclass
class Supervisor:
    """Runs the service until SIGTERM or SIGINT. `say` reports events, `greet` the address once the
    API is ready, and `bye` the stop, with the number of jobs that are not final, where known."""

    settings: Settings
    say: Callable[[str], None]
    greet: Callable[[str], None]
    bye: Callable[[int | None], None]
    _is_stopping: bool = False
    _children: list[Child] = field(default_factory=list)

    def run(self) -> None:
        """Run the service. Raises CannotStart if the port or the data directory is in use."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        with _lock(self.settings.data_dir) as lock, _listen(self.settings) as listener:
            prepare_database(self.settings)
            url = address(self.settings.host, listener.getsockname()[1])
            try:
                self._start(listener, lock, url)
                if not self._is_stopping:
                    (self.settings.data_dir / ADDRESS_FILE).write_text(url)
                    self.greet(url)
                self._watch()
            finally:
                unfinished = self._end(url)
        self.bye(unfinished)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        # No Event: its lock may be held by what the signal interrupts.
        self._is_stopping = True

    def _start(self, listener: socket.socket, lock: IO[str], url: str) -> None:
        settings = self.settings.model_copy(
            update={
                "port": listener.getsockname()[1],
                "worker_token": self.settings.worker_token or SecretStr(secrets.token_urlsafe(32)),
            }
        )
        environment = child_environment(settings)
        descriptor = listener.fileno()
        # The API inherits the lock: if the supervisor is killed, no second API can start beside it.
        descriptors = (descriptor, lock.fileno())
        api = Child(
            ["api", "--socket-fd", str(descriptor)],
            environment,
            descriptors,
            heartbeat_timeout=settings.hung_after_seconds,
        )
        api.start()
        self._children.append(api)
        self._wait_until_ready(api, url)
        worker_env = worker_environment(settings)
        for number in range(1, settings.workers + 1):
            name = f"local-{number}"
            worker = Child(["worker", "--url", url, "--name", name, "--child"], worker_env)
            worker.start()
            self._children.append(worker)

    def _wait_until_ready(self, api: Child, url: str) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not self._is_stopping and not _is_ready(f"{url}/readyz"):
            if api.exit_code == SAID_WHY:
                raise SystemExit(Exit.FAILURE)
            if api.exit_code is not None:
                raise CannotStart("the API did not start; see the lines above")
            if time.monotonic() > deadline:
                raise CannotStart(f"the API was not ready within {_READY_SECONDS:.0f} s")
            time.sleep(0.05)

    def _watch(self) -> None:
        while not self._is_stopping:
            time.sleep(0.2)
            for child in self._children:
                if (message := child.watch()) is not None:
                    self.say(message)

    def _end(self, url: str) -> int | None:
        """Stop the workers first, so that they can release their attempts to the API, then the API.
        Return the number of jobs that are not final, where the API tells it."""
        workers = self._children[1:]
        for child in workers:
            if child.process is not None:
                child.process.terminate()
        for child in reversed(workers):
            child.end(_STOP_SECONDS)
        unfinished = _count_unfinished(url)
        for child in self._children[:1]:
            child.end(_API_STOP_SECONDS)
        (self.settings.data_dir / ADDRESS_FILE).unlink(missing_ok=True)
        return unfinished


def _lock(folder: Path) -> IO[str]:
    """Lock the data directory: SQLite has one writing process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _restrict_access(folder)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise CannotStart(f"cannot use {folder} as the data directory: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise CannotStart(
            f"another service runs on {folder}; stop it, or choose another folder and port: "
            "--data-dir and --port, or RUSHES_DATA_DIR and RUSHES_PORT"
        ) from None
    return lock


def _restrict_access(folder: Path) -> None:
    """Let only this Unix user read the data directory: the database has webhook secrets.

    A folder of another user, such as a mounted one, stays as it is.
    """
    with suppress(PermissionError):
        folder.chmod(0o700)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "stop the other process, or choose another port: --port, or RUSHES_PORT"
        ) from error
    listener.listen(1024)
    listener.set_inheritable(True)
    return listener


def _is_ready(url: str) -> bool:
    return _get(url) is not None


def _count_unfinished(url: str) -> int | None:
    """Count the jobs that are not final; None if the API does not tell."""
    body = _get(f"{url}/health")
    queue = None if body is None else json.loads(body)["queue"]
    return None if queue is None else queue["queued"] + queue["running"]


def _get(url: str) -> bytes | None:
    """Return the body of a 200, without urllib, which would use the environment's proxy."""
    parts = urlsplit(url)
    assert parts.hostname is not None, "our own address"
    connection = HTTPConnection(parts.hostname, parts.port, timeout=2)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        return response.read() if response.status == HTTPStatus.OK else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
