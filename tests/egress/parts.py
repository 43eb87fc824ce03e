"""A server that misbehaves as told, a resolver that answers as told, and who dialled what."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from socketserver import BaseRequestHandler, ThreadingTCPServer

from service.egress.client import Answer, Egress, Rules

PUBLIC = "93.184.216.34"
LOOPBACK = Rules(allow_loopback=True)
SHORT = timedelta(seconds=0.5)
LONG = timedelta(seconds=20)
TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Names:
    """A resolver. The answers of a name are used up one by one, the last one stays."""

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._answers = {name: list(turns) for name, turns in answers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        turns = self._answers.get(host)
        if not turns:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return turns.pop(0) if len(turns) > 1 else turns[0]


class Dialer:
    """Notes every socket that is asked for; leads all of them to one local port, or nowhere."""

    def __init__(self, port: int | None = None, dead: Sequence[str] = ()) -> None:
        self.dialled: list[tuple[str, int]] = []
        self._port = port
        self._dead = dead

    def __call__(self, address: tuple[str, int], timeout: float) -> socket.socket:
        self.dialled.append(address)
        if self._port is None or address[0] in self._dead:
            raise ConnectionRefusedError("nobody listens")
        return socket.create_connection(("127.0.0.1", self._port), timeout)


class Server:
    """What has come in so far. `stopped` is set when the test is over."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[bytes] = []
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=b"


Handler = Callable[[Server, socket.socket], None]


def answers(data: bytes) -> Handler:
    return lambda _server, connection: connection.sendall(data)


@contextmanager
def serve(handler: Handler, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Reads one request from each connection, then leaves the connection to `handler`."""
    server = Server()

    class OneRequest(BaseRequestHandler):
        def handle(self) -> None:
            try:
                connection = (
                    tls.wrap_socket(self.request, server_side=True) if tls else self.request
                )
                with connection:
                    server.requests.append(_request(connection))
                    handler(server, connection)
            except OSError:
                pass  # the client may leave whenever it likes

    class Backlog(ThreadingTCPServer):
        request_queue_size = 64

    with Backlog(("127.0.0.1", 0), OneRequest) as tcp:
        server.port = tcp.server_address[1]
        thread = threading.Thread(target=tcp.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.stopped.set()
            tcp.shutdown()
            thread.join()


def _request(connection: socket.socket) -> bytes:
    data = b""
    done = (b"\r\n\r\n", b"\x16\x03")  # the end of a head, or a client that wants TLS
    while not any(end in data for end in done) and (more := connection.recv(65536)):
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"),
        0,
    )
    while len(body) < length and (more := connection.recv(65536)):
        body += more
    return head + b"\r\n\r\n" + body


class Canary:
    """Listens on loopback and never answers: all it knows is whether somebody connected."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.port: int = listener.getsockname()[1]

    def sang(self) -> bool:
        self._listener.setblocking(False)
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return False
        connection.close()
        return True


@contextmanager
def canary() -> Iterator[Canary]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Canary(listener)


def post(egress: Egress, url: str, timeout: timedelta = LONG) -> Answer:
    return egress.post(url, headers={"webhook-id": "msg_1"}, content=b"{}", timeout=timeout)
