"""A webhook receiver of its own process, which behaves as badly as its path says.

Run as `python -m tests.webhooks.receiver LOG [PORT]`. It prints its port and writes a line of JSON
for each request that it has read whole, before it answers.
"""

import base64
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Receiver:
    """A receiver that runs; `log` is what it wrote."""

    port: int
    log: Path
    process: "subprocess.Popen[str]"

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.port}/{behaviour}"

    def got(self, behaviour: str | None = None) -> list[dict[str, Any]]:
        """Every request so far, or those to one path, in the order of their coming."""
        if not self.log.exists():
            return []
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [one for one in lines if behaviour is None or one["path"] == f"/{behaviour}"]

    def wait(self, behaviour: str, count: int = 1, seconds: float = 60) -> list[dict[str, Any]]:
        """The requests to one path once there are that many."""
        deadline = time.monotonic() + seconds
        while len(found := self.got(behaviour)) < count:
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        return found


@contextmanager
def receiving(log: Path, port: int = 0) -> Iterator[Receiver]:
    command = [sys.executable, "-m", "tests.webhooks.receiver", str(log), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Receiver(int(process.stdout.readline()), log, process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def body_of(request: dict[str, Any]) -> bytes:
    return base64.b64decode(request["body"])


_HEADERS = {
    "redirect": {"Location": "/ok", "Content-Length": "6"},
    "429": {"Retry-After": "3600", "Content-Length": "6"},
    "huge": {"Content-Length": str(10**12)},
}


class _Handler(BaseHTTPRequestHandler):
    log: Path
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen = {
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": base64.b64encode(body).decode(),
        }
        with self.lock, self.log.open("a") as file:
            file.write(json.dumps(seen) + "\n")
        self._behave(self.path.strip("/").partition("?")[0])

    def _behave(self, word: str) -> None:
        if word == "flaky":
            word = random.choice(["500", "500", "cut", *["ok"] * 7])
        if word == "cut":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if word == "slow":
            time.sleep(20)
        self.send_response({"redirect": 301}.get(word, int(word) if word.isdigit() else 200))
        for name, value in _HEADERS.get(word, {"Content-Length": "6"}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"canary")
        while word == "huge":
            self.wfile.write(b"x" * 65536)

    def log_message(self, *_: object) -> None:
        """Nothing: what matters is in the log."""


def main() -> None:
    _Handler.log = Path(sys.argv[1])
    server = _Server(("127.0.0.1", int(sys.argv[2])), _Handler)
    print(server.server_address[1], flush=True)  # noqa: T201 - whoever started it reads this
    server.serve_forever()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A sender that hangs up is part of the test."""


if __name__ == "__main__":
    main()
