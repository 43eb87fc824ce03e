"""An HTTP proxy before a service, which fails at the requests that a test names."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

# `lost`: the service hears the request, the client no answer. `refused`: closed unheard.
# `cut`: the answer ends after `bytes`, or with the first chunk that holds `text`.
# The numbers are answers of the proxy itself.
Kind = Literal["lost", "refused", "cut", "200", "404", "429", "503"]
_CHUNK_BYTES = 16_384


@dataclass
class Fault:
    """Happens to the next `times` requests whose `METHOD /path` matches."""

    request: str
    kind: Kind
    times: int = 1
    bytes: int = 0
    text: str = ""


@dataclass(frozen=True)
class Seen:
    """A request that came, and what happened to it."""

    method: str
    path: str
    headers: dict[str, str]
    fault: Kind | None
    sent: int  # bytes of the answer's body


@dataclass
class FaultyProxy:
    """A proxy that runs; `seen` are the requests so far, each added at its end."""

    url: str
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, request: str) -> Fault | None:
        """Return the first fault that is left for a request, and count it."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.request, request):
                    fault.times -= 1
                    return fault
        return None

    def requests(self, pattern: str) -> list[Seen]:
        return [one for one in self.seen if re.search(pattern, f"{one.method} {one.path}")]


@contextmanager
def faulty_proxy(service_url: str, *faults: Fault) -> Iterator[FaultyProxy]:
    """Start a proxy on a free port; links of the service lead through it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    proxy = FaultyProxy(f"http://127.0.0.1:{server.server_port}", list(faults))
    _Handler.upstream[server.server_port] = (urlsplit(service_url).netloc, proxy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    upstream: dict[int, tuple[str, FaultyProxy]] = {}  # noqa: RUF012 - by port, of every proxy

    def handle_one_request(self) -> None:
        with suppress(OSError):  # the client has gone
            super().handle_one_request()
        self.close_connection = True

    def _serve(self) -> None:
        service, proxy = self.upstream[self.server.server_address[1]]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = proxy.take(f"{self.command} {self.path}")
        self.sent = 0
        try:
            if fault is not None and fault.kind.isdigit():
                self._answer(int(fault.kind))
            elif fault is None or fault.kind != "refused":
                self._forward(service, body, fault)
        finally:
            headers = {name.lower(): text for name, text in self.headers.items()}
            kind = None if fault is None else fault.kind
            proxy.seen.append(Seen(self.command, self.path, headers, kind, self.sent))

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(b"<h1>the proxy says no</h1>")

    def _forward(self, service: str, body: bytes, fault: Fault | None) -> None:
        connection = HTTPConnection(service, timeout=70)
        headers = {name: text for name, text in self.headers.items() if name != "Connection"}
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        try:
            if fault is not None and fault.kind == "lost":
                answer.read()
                return
            self.send_response(answer.status)
            for name, text in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, text)
            self.send_header("Connection", "close")
            self.end_headers()
            self._copy(answer, fault)
        finally:
            connection.close()

    def _copy(self, answer: HTTPResponse, fault: Fault | None) -> None:
        limit = fault.bytes if fault is not None and not fault.text else None
        while self.sent != limit and (chunk := answer.read1(_CHUNK_BYTES)):
            chunk = chunk if limit is None else chunk[: limit - self.sent]
            self.wfile.write(chunk)
            self.wfile.flush()
            self.sent += len(chunk)
            if fault is not None and fault.text and fault.text.encode() in chunk:
                return

    def log_message(self, *_: object) -> None:
        """Print nothing."""
