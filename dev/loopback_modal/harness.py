"""Run the Modal emulator for a test, and stop it with all its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx

T = TypeVar("T")
CHECKOUT = Path(__file__).parents[2]
UNSHARE = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-mr"]


class LoopbackModal:
    """A running emulator. `env` points Modal's CLI and SDK at it; `http` is its base URL."""

    def __init__(self, state: Path, announcement: dict[str, Any]) -> None:
        self.state = state
        self.http: str = announcement["http"]
        self.pid: int = announcement["pid"]
        self.env = clean_environment() | announcement["env"]
        self._client = httpx.Client(base_url=self.http + "/__loopback__", timeout=30)

    def modal(self, *args: str, cwd: Path | None = None, check: bool = True) -> str:
        """Run `modal ARGS...` and return its output. Raises on a failure, unless `check` is off."""
        process = subprocess.run(
            [str(Path(sys.executable).with_name("modal")), *args],
            cwd=cwd or CHECKOUT,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        if check and process.returncode:
            raise AssertionError(f"modal {' '.join(args)}: {process.returncode}\n{process.stdout}")
        return process.stdout

    def deploy(self, script: str | Path, *flags: str, cwd: Path | None = None) -> str:
        return self.modal("deploy", str(script), *flags, cwd=cwd)

    def functions(self, app: str | None = None) -> dict[str, dict[str, Any]]:
        """Return the deployed Functions by name, with definition and image variables."""
        rows = [f for f in self.get("functions") if app in (None, f["app"])]
        return {f["name"]: f for f in rows if not f["bound"]}

    def calls(self, function: str | None = None) -> list[dict[str, Any]]:
        return [c for c in self.get("calls") if function in (None, c["function"])]

    def call(self, call_id: str) -> dict[str, Any]:
        """Return a call: status, attempt, containers, arguments as a repr."""
        return next(call for call in self.calls() if call["id"] == call_id)

    def containers(self, function: str | None = None) -> list[dict[str, Any]]:
        """List running containers, oldest first."""
        return [c for c in self.get("containers") if function in (None, c["function"])]

    def volumes(self) -> dict[str, dict[str, Any]]:
        """Return named Volumes: `path` on this machine, and `files` with their sizes."""
        return {volume["name"]: volume for volume in self.get("volumes")}

    def rpcs(self) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self.get("rpcs"))

    def log(self, task: str) -> str:
        """Return a container's output, also after its end."""
        return (self.state / "tasks" / task / "log.txt").read_text(errors="replace")

    def tick(self, function: str) -> str:
        """Run a scheduled Function now and return the call's id."""
        return cast(str, self.get("tick", function=function)["id"])

    def preempt(self, task: str, grace_s: float = 30) -> None:
        self.get("preempt", task=task, grace_s=grace_s)

    def crash(self, task: str) -> None:
        self.get("crash", task=task)

    @contextmanager
    def frozen(self, task: str) -> Iterator[None]:
        """Suspend a container, as when its host hangs."""
        (pid,) = (c["pid"] for c in self.containers() if c["task"] == task)
        os.killpg(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(pid, signal.SIGCONT)

    def redeliver(self, call_id: str) -> None:
        self.get("redeliver", call=call_id)

    def expire(self, call_id: str) -> None:
        self.get("expire", call=call_id)

    def lose_next_spawn_answer(self, way: str = "unavailable", times: int = 1) -> None:
        """Lose spawn responses. `way`: unavailable or reset. Modal's client tries four times."""
        self.get("lose_next_spawn_answer", way=way, times=times)

    @contextmanager
    def cut_off(self, path: str) -> Iterator[None]:
        """Abort web requests below this path, of every Function."""
        self.get("cut_off", path=path)
        try:
            yield
        finally:
            self.get("cut_off", path=path, on=0)

    def wait(self, see: Callable[[], T | None], timeout_s: float = 20, what: str = "it") -> T:
        """Poll `see` every 20 ms and return its first true result. Raises on a timeout."""
        end = time.monotonic() + timeout_s
        while not (result := see()):
            if time.monotonic() > end:
                raise AssertionError(f"{what} did not happen within {timeout_s} s\n{self.story()}")
            time.sleep(0.02)
        return result

    def finished(self, call_id: str, timeout_s: float = 20) -> dict[str, Any]:
        """Wait until the call has ended and return it."""

        def has_ended() -> bool:
            return self.call(call_id)["status"] not in ("PENDING", "RUNNING")

        self.wait(has_ended, timeout_s, f"the end of {call_id}")
        return self.call(call_id)

    def running(self, call_id: str, timeout_s: float = 20) -> str:
        """Wait until a container runs the call and return its id."""

        def tasks() -> list[str]:
            return list(self.call(call_id)["tasks"])

        return self.wait(tasks, timeout_s, f"the start of {call_id}")[-1]

    @contextmanager
    def client(self, url: str = "") -> Iterator[Any]:
        """Yield an SDK client for this process: `from_name(..., client=client)`. `url` overrides
        the server's address."""
        from modal.client import Client
        from modal_proto import api_pb2

        credentials = (self.env["MODAL_TOKEN_ID"], self.env["MODAL_TOKEN_SECRET"])
        url = url or self.env["MODAL_SERVER_URL"]
        with Client(url, api_pb2.CLIENT_TYPE_CLIENT, credentials) as client:
            yield client

    def story(self) -> str:
        """Return calls, containers and the ends of the logs, for a failed test."""
        logs = sorted(self.state.glob("tasks/*/log.txt"), key=lambda path: path.stat().st_mtime)
        tails = [f"--- {path.parent.name}\n{path.read_text()[-2000:]}" for path in logs[-4:]]
        return "\n".join([json.dumps(self.calls()[-8:]), json.dumps(self.containers()), *tails])

    def get(self, action: str, **query: Any) -> Any:
        answer = self._client.get(f"/{action}", params=query)
        if answer.is_error:
            raise AssertionError(f"{action} {query}: {answer.status_code} {answer.text}")
        return answer.json()

    def close(self) -> None:
        self._client.close()


@contextmanager
def loopback_modal(state: Path, *flags: str) -> Iterator[LoopbackModal]:
    """Run an emulator with its state in this folder. It ends with the block or this process, and
    so do its containers and their processes."""
    command = [sys.executable, "-m", "dev.loopback_modal", "--state", str(state), "--lifeline"]
    state.mkdir(parents=True, exist_ok=True)
    with (state / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, *flags],
            cwd=CHECKOUT,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        line = server.stdout.readline() if server.stdout else b""
        if not line:
            raise RuntimeError((state / "server.log").read_text())
        cloud = LoopbackModal(state.resolve(), json.loads(line))
        yield cloud
        cloud.close()
    finally:
        end(server)
        for pid in leftovers(state):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    for pipe in (server.stdin, server.stdout):
        if pipe:
            pipe.close()


def leftovers(state: Path) -> list[int]:
    """List running processes that containers of this state folder started."""
    mark = f"LOOPBACK_MODAL_STATE={state.resolve()}\0".encode()
    pids = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in path.read_bytes():
                pids.append(int(path.parent.name))
    return pids


def clean_environment() -> dict[str, str]:
    """Return the environment without Modal's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MODAL_")}


def unsupported_reason() -> str:
    """Return why containers cannot run on this machine, or ""."""
    try:
        process = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, timeout=10)
    except OSError as exc:
        return f"no unshare: {exc}"
    return "" if process.returncode == 0 else f"{' '.join(UNSHARE)}: {process.stderr.strip()}"
