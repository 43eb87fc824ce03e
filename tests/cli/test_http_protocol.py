"""What comes before a key is known: heads, silence, the number of connections, an Upgrade."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from queue import Queue
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.cli.processes.connections import HEAD_SECONDS, Connections
from service.cli.processes.http_protocol import MAX_HEAD_BYTES, MAX_HEADERS
from service.cli.processes.serve import Server, configure
from service.domain.limits import max_connections, max_streams, max_waits
from service.runtime.notifier import Notifier

GET = b"GET /echo HTTP/1.1\r\nHost: rushes.test\r\n\r\n"
HEAD = b"POST /echo HTTP/1.1\r\nHost: rushes.test\r\n"
UPGRADE = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
)


LARGE_BLOCKS = 400  # more than the system's own buffers take


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what arrived; `/large` with 26 MB, `/refused` without its body."""
    body, more = b"", scope["path"] != "/refused"
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    names = [name.decode() for name, _ in scope["headers"]]
    told = {"method": scope["method"], "body": body.decode(), "headers": names}
    blocks = [json.dumps(told).encode()]
    if scope["path"] == "/large":
        blocks = [bytes(65_536)] * LARGE_BLOCKS
    length = str(sum(map(len, blocks))).encode()
    headers = [(b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number, block in enumerate(blocks, 1):
        more = number < len(blocks)
        await send({"type": "http.response.body", "body": block, "more_body": more})


@dataclass
class Seconds:
    """Time that moves only when a test moves it."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Running:
    connections: Connections
    server: Server
    loop: asyncio.AbstractEventLoop
    address: tuple[str, int]
    clock: Seconds

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)

    def ask(self, request: bytes = GET) -> dict[str, Any]:
        with self.connect() as client:
            client.sendall(request)
            return answer_of(client)

    def later(self, seconds: float) -> None:
        """Let so much time pass, and have the sweep done that it brings."""
        self.clock.now += seconds

        async def sweep() -> None:
            self.connections.sweep()

        asyncio.run_coroutine_threadsafe(sweep(), self.loop).result(20)

    def until(self, holds: Callable[[], bool]) -> None:
        """Let the server go on until that is so."""
        for _ in range(10_000):
            if holds():
                return
            self.later(0)
        raise AssertionError("it never held")


def answer_of(client: socket.socket) -> dict[str, Any]:
    """Status and JSON of one answer; empty where the connection ends without any."""
    read = b""
    while b"\r\n\r\n" not in read:
        piece = client.recv(65_536)
        if not piece:
            return {}
        read += piece
    head, _, body = read.partition(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < size:
        body += client.recv(65_536)
    return {**json.loads(body), "answered": int(head.split()[1])}


@contextmanager
def running(most: int = 100) -> Iterator[Running]:
    """A server on a socket, with a clock that only the test moves."""
    listener, clock = socket.create_server(("127.0.0.1", 0)), Seconds()
    connections = Connections(most, clock=clock)
    config = configure(echo, connections, "127.0.0.1", 0)
    config.lifespan = "off"
    server = Server(config, Notifier(), connections)
    loops: Queue[asyncio.AbstractEventLoop] = Queue()

    async def serve() -> None:
        loops.put(asyncio.get_running_loop())
        await server.serve([listener])

    def run() -> None:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    found = Running(connections, server, loops.get(timeout=20), listener.getsockname(), clock)
    try:
        yield found
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)


@pytest.fixture
def service() -> Iterator[Running]:
    with running() as found:
        yield found


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def read_until_closed(stream: Iterator[bytes]) -> tuple[int, bytes]:
    """How many bytes one connection reads of a request that fills every read, and its answer."""
    connections = Connections(10)
    config = configure(echo, connections, "127.0.0.1", 0)
    config.load()

    async def feed() -> tuple[int, bytes]:
        wire, count, pending = Wire(), 0, b""
        protocol = config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=ServerState(), app_state={}, _loop=None
        )
        assert isinstance(protocol, asyncio.BufferedProtocol)
        protocol.connection_made(wire)
        while not wire.closed and count < 10 * MAX_HEAD_BYTES:
            if wire.paused:
                await asyncio.sleep(0)  # until it reads on, or closes
                continue
            buffer = protocol.get_buffer(-1)
            assert isinstance(buffer, bytearray)
            while len(pending) < len(buffer):
                pending += next(stream)
            size = len(buffer)
            buffer[:size] = pending[:size]
            pending = pending[size:]
            count += size
            protocol.buffer_updated(size)
        return count, wire.written

    return asyncio.run(feed())


def endless(piece: bytes, before: bytes = HEAD) -> Iterator[bytes]:
    yield before
    while True:
        yield piece


@pytest.mark.parametrize(
    ("before", "piece"),
    [
        (HEAD, b"X-1: y\r\n"),
        (HEAD + b"X-1: ", b"y" * 100_000),
        (HEAD + b"X", b"y" * 100_000),
        (b"GET /", b"y" * 100_000),
        (GET + HEAD, b"X-1: y\r\n"),
    ],
    ids=["many headers", "a long value", "a long name", "a long path", "the second request"],
)
def test_a_head_without_end_is_refused_before_much_of_it_is_read(
    before: bytes, piece: bytes
) -> None:
    read, answer = read_until_closed(endless(piece, before))

    assert read <= MAX_HEAD_BYTES + 65_536
    if before.startswith(GET):  # the first is answered
        ok, _, answer = answer.partition(b"HTTP/1.1 431")
        answer = b"HTTP/1.1 431" + answer
        assert ok.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"content-type: application/problem+json" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "head_too_large"


def test_trailers_without_end_are_cut_off() -> None:
    before = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-1: "

    read, _ = read_until_closed(endless(b"y" * 100_000, before))

    assert read <= MAX_HEAD_BYTES + 2 * 65_536


def test_requests_without_end_on_one_connection_are_cut_off() -> None:
    read, answer = read_until_closed(endless(GET, GET))

    assert read <= 65_536
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 17  # one, and 16 behind it
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["status"] == 400


NO_HTTP = b"\x16\x03\x01\x02\x00\x01\r\n\r\n"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (GET + NO_HTTP, [200, 400]),
        (GET * 3 + NO_HTTP + GET, [200, 200, 200, 400]),
        (GET * 2 + CHUNKS + b"no chunk\r\n", [200, 200, 400]),
        (CHUNKS + b"no chunk\r\n" + GET, [400]),
    ],
    ids=["no HTTP behind one", "behind three", "a broken body behind two", "a broken body"],
)
def test_what_is_complete_is_answered_before_a_refusal(
    service: Running, sent: bytes, statuses: list[int]
) -> None:
    with service.connect() as client:
        client.sendall(sent)
        read = b""
        with suppress(ConnectionResetError):
            while piece := client.recv(65_536):
                read += piece

    assert [int(part[:3]) for part in read.split(b"HTTP/1.1 ")[1:]] == statuses


def test_a_large_head_within_the_bound_is_taken(service: Running) -> None:
    large = b"X-1: " + b"y" * (MAX_HEAD_BYTES - len(GET) - 10) + b"\r\n"
    many = b"".join(b"X-%d: y\r\n" % number for number in range(MAX_HEADERS - 2))
    end = b"Content-Length: 2\r\n\r\nhi"

    assert service.ask(GET[:-2] + large + b"\r\n")["answered"] == 200
    answer = service.ask(HEAD + many + end)

    assert (answer["answered"], answer["body"]) == (200, "hi")
    assert len(answer["headers"]) == MAX_HEADERS
    assert service.ask(HEAD + many + b"X-more: y\r\n" + end)["answered"] == 431


def test_a_head_in_single_bytes_is_read_whole(service: Running) -> None:
    with service.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in GET:
            client.sendall(bytes([byte]))

        assert answer_of(client)["answered"] == 200


def test_trailers_are_not_taken_for_headers(service: Running) -> None:
    request = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nAuthorization: x\r\n\r\n"

    answer = service.ask(request)

    assert (answer["answered"], answer["body"]) == (200, "hi")
    assert "authorization" not in answer["headers"]


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "the body later"])
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 5\r\n\r\n", b"hello"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
    ],
    ids=["length", "chunks"],
)
def test_an_upgrade_is_ignored_and_the_body_is_whole(
    service: Running, framing: bytes, body: bytes, pause: bool
) -> None:
    with service.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (
            [HEAD + UPGRADE + framing, body] if pause else [HEAD + UPGRADE + framing + body]
        ):
            client.sendall(piece)

        answer = answer_of(client)
        client.sendall(GET)  # the connection goes on as HTTP/1.1

        assert (answer["answered"], answer["method"], answer["body"]) == (200, "POST", "hello")
        assert answer_of(client)["answered"] == 200


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"1.1", b"1.0") + b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        HEAD + b"Connection: close, upgrade\r\nUpgrade: h2c\r\n",
    ],
    ids=["HTTP/1.0", "close"],
)
def test_an_upgrade_on_a_connection_that_ends_is_ignored_too(service: Running, head: bytes) -> None:
    with service.connect() as client:
        client.sendall(head + b"Content-Length: 5\r\n\r\nhello" + GET)

        answer = answer_of(client)

        assert (answer["answered"], answer["method"], answer["body"]) == (200, "POST", "hello")
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""  # what follows it is not answered


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_an_upgrade_without_a_body_is_ignored(service: Running, protocol: bytes) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % protocol

    answer = service.ask(GET[:-2] + upgrade)

    assert (answer["answered"], answer["method"]) == (200, "GET")


def test_a_tunnel_is_refused(service: Running) -> None:
    assert service.ask(b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n")["answered"] == 405
    assert service.ask(b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n")["answered"] == 405


def test_what_is_no_http_is_told_so(service: Running) -> None:
    answer = service.ask(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")

    assert (answer["answered"], answer["status"]) == (400, 400)


@pytest.mark.parametrize(
    "sent", [b"", HEAD, GET + HEAD], ids=["silent", "drips", "the second drips"]
)
def test_a_head_that_does_not_come_in_time_is_not_waited_for(service: Running, sent: bytes) -> None:
    with service.connect() as client:
        client.sendall(sent)
        if sent.startswith(GET):
            assert answer_of(client)["answered"] == 200
        service.ask()  # by then what was sent has arrived
        kept = service.connections.keep_alive_seconds if sent.startswith(GET) else 0
        service.later(kept + HEAD_SECONDS - 1)
        client.sendall(b"X" if sent else b"")

        service.ask()
        service.later(1)

        answer = answer_of(client)
        assert answer.get("answered") == (408 if sent else None)
        assert client.recv(1) == b""


def test_a_request_that_is_under_way_is_waited_for(service: Running) -> None:
    with service.connect() as client:
        client.sendall(HEAD + b"Content-Length: 2\r\n\r\nh")
        service.ask()
        service.later(3600)

        client.sendall(b"i")

        assert answer_of(client)["body"] == "hi"


def test_silent_connections_keep_nobody_out() -> None:
    with running(most=8) as service, ExitStack() as open_ones:
        busy = open_ones.enter_context(service.connect())
        busy.sendall(HEAD + b"Content-Length: 2\r\n\r\nh")
        silent = [open_ones.enter_context(service.connect()) for _ in range(40)]

        assert service.ask()["answered"] == 200
        assert len(service.server.server_state.connections) <= 9  # one may be about to close
        assert silent[0].recv(1) == b""
        busy.sendall(b"i")
        assert answer_of(busy)["body"] == "hi"


def test_a_connection_over_the_cap_is_closed_while_all_others_are_at_work() -> None:
    with running(most=2) as service, ExitStack() as open_ones:
        at_work = [open_ones.enter_context(service.connect()) for _ in range(2)]
        for client in at_work:
            client.sendall(HEAD + b"Content-Length: 2\r\n\r\nh")
        service.until(lambda: not service.connections._idle)

        with service.connect() as third, suppress(ConnectionResetError):
            assert third.recv(1) == b""

        for client in at_work:
            client.sendall(b"i")
            assert answer_of(client)["body"] == "hi"


REFUSED = HEAD.replace(b"/echo", b"/refused") + b"Content-Length: 1000000000\r\n\r\n"


def test_little_is_read_of_a_body_whose_request_is_answered(service: Running) -> None:
    with service.connect() as client:
        client.sendall(REFUSED)
        assert answer_of(client)["answered"] == 200
        (protocol,) = service.server.server_state.connections
        client.setblocking(False)

        def is_paused() -> bool:
            with suppress(BlockingIOError):
                client.send(bytes(65_536))
            return bool(protocol.flow.read_paused)  # type: ignore[union-attr]

        service.until(is_paused)
        assert protocol._unread_bytes <= 1_048_576 + 65_536  # type: ignore[union-attr]


def test_a_body_that_does_not_end_soon_after_its_answer_is_not_waited_for(
    service: Running,
) -> None:
    with service.connect() as client:
        client.sendall(REFUSED)
        assert answer_of(client)["answered"] == 200

        service.later(4)
        assert service.server.server_state.connections
        service.later(1)

        assert client.recv(1) == b""


def test_a_connection_goes_on_where_the_body_ends_soon_after_its_answer(service: Running) -> None:
    with service.connect() as client:
        client.sendall(REFUSED.replace(b"1000000000", b"2"))
        assert answer_of(client)["answered"] == 200

        client.sendall(b"hi" + GET)
        assert answer_of(client)["answered"] == 200
        service.later(5)
        client.sendall(GET)

        assert answer_of(client)["answered"] == 200


LARGE = GET.replace(b"/echo", b"/large")
LARGE_BYTES = LARGE_BLOCKS * 65_536


def stalled(service: Running) -> socket.socket:
    """A reader that has taken nothing yet, and a server that can send it no more."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # what it takes, the server sees
    client.settimeout(20)
    client.connect(service.address)
    before = len(service.connections._stalls)
    client.sendall(LARGE)
    seen: list[object] = []

    def stands_still() -> bool:
        seen.append(dict(service.connections._stalls))
        return len(service.connections._stalls) > before and seen[-200:-199] == seen[-1:]

    service.until(stands_still)
    return client


def taken(client: socket.socket, most: int = LARGE_BYTES) -> int:
    """How much of its answer a reader still gets, up to `most`."""
    size = 0
    with suppress(ConnectionResetError):
        while size < most and (piece := client.recv(1_000_000)):
            size += len(piece)
    return size


def test_a_reader_that_takes_nothing_is_cut_off(service: Running) -> None:
    with stalled(service) as client:
        service.later(59)
        assert service.connections._stalls

        service.later(1)

        assert taken(client) < LARGE_BYTES


def test_a_slow_reader_goes_on(service: Running) -> None:
    with stalled(service) as client:
        size = 0
        for _ in range(15):
            # Thrice in every minute: the server may note a stall before, within or after a read.
            size += taken(client, 300_000)
            service.later(20)

        assert size + taken(client, LARGE_BYTES - size) >= LARGE_BYTES


def test_slow_readers_together_cannot_fill_the_memory(service: Running) -> None:
    with stalled(service) as first, stalled(service) as second:
        service.connections.max_unsent_bytes = 65_536

        service.later(0)

        assert len(service.connections._stalls) <= 1
        assert min(taken(first), taken(second)) < LARGE_BYTES


def test_open_files_are_shared_out_below_the_limit() -> None:
    assert max_connections(1024) == 384
    assert max_connections(20) == 16
    assert max_connections(1_000_000) == 4096
    for limit in (1024, 4096, 20_000):
        assert 2 * max_connections(limit) < limit
        assert max_waits(limit) + max_streams(limit) < 0.9 * max_connections(limit)


def test_the_limit_of_open_files_is_raised_to_what_is_allowed() -> None:
    script = (
        "import resource; from service.cli.processes.connections import raise_open_files;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (512, 600)); raise_open_files();"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert told.stdout == "(600, 600)\n"
