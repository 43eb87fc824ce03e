"""A receiver of webhooks on this machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Calls:
    url: str
    ids: list[str] = field(default_factory=list)

    def wait_for(self, number: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.ids) < number:
            assert time.monotonic() < deadline, self.ids
            time.sleep(0.02)


@contextmanager
def receiver() -> Iterator[Calls]:
    """Accept everything, and keep the `webhook-id` of each."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            calls.ids.append(self.headers["webhook-id"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    calls = Calls(f"http://127.0.0.1:{server.server_port}/hook")
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield calls
    finally:
        server.shutdown()
        server.server_close()
