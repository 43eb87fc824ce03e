import socket
import time
from pathlib import Path

import pytest

from service.egress.client import Egress, TargetFailed
from tests.egress.parts import LOOPBACK, SHORT, TRUSTS_NOBODY, Handler, Server, canary, post, serve

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
LONG_TLS_RECORD = b"\x16\x03\x03\x3f\xff"


def drip(at_once: bytes = b"") -> Handler:
    """A byte every 20 ms, for as long as anybody listens: no single read ever waits long."""

    def handler(server: Server, connection: socket.socket) -> None:
        connection.sendall(at_once)
        slow = HEAD if not at_once else bytes(100000)
        for n in range(len(slow)):
            connection.sendall(slow[n : n + 1])
            if server.stopped.wait(0.02):
                return

    return handler


def silence(server: Server, connection: socket.socket) -> None:
    server.stopped.wait(60)


@pytest.mark.parametrize("handler", [silence, drip()], ids=["silence", "drip"])
def test_the_deadline_is_for_the_whole_call(egress: Egress, handler: Handler) -> None:
    start = time.monotonic()

    with serve(handler) as server, pytest.raises(TargetFailed) as failed:
        post(egress, server.url, SHORT)

    assert failed.value.reason == "timeout"
    assert time.monotonic() - start < 10


def test_a_fetch_keeps_its_deadline_while_the_body_drips(egress: Egress, tmp_path: Path) -> None:
    file = tmp_path / "image"

    with serve(drip(HEAD)) as server, pytest.raises(TargetFailed) as failed:
        egress.fetch(server.url, into=file, max_bytes=1000000, timeout=SHORT)

    assert failed.value.reason == "timeout"
    assert not file.exists()


def test_a_server_that_never_reads_is_left_at_the_deadline(egress: Egress) -> None:
    with canary() as deaf, pytest.raises(TargetFailed) as failed:
        egress.post(
            f"http://127.0.0.1:{deaf.port}/", headers={}, content=bytes(50_000_000), timeout=SHORT
        )

    assert failed.value.reason == "timeout"


@pytest.mark.parametrize("handler", [silence, drip(LONG_TLS_RECORD)], ids=["silence", "drip"])
def test_a_tls_handshake_that_never_ends_is_left_at_the_deadline(handler: Handler) -> None:
    egress = Egress(LOOPBACK, ssl_context=TRUSTS_NOBODY)
    start = time.monotonic()

    with serve(handler) as server, pytest.raises(TargetFailed) as failed:
        post(egress, f"https://127.0.0.1:{server.port}/", SHORT)

    assert failed.value.reason == "timeout"
    assert time.monotonic() - start < 10


def test_an_address_that_never_answers_leaves_time_for_the_next() -> None:
    given: list[float] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        given.append(timeout)
        raise TimeoutError

    egress = Egress(LOOPBACK, resolve=lambda host: ["127.0.0.1"] * 4, connect=connect)
    with pytest.raises(TargetFailed) as failed:
        post(egress, "http://localhost:3000/", SHORT * 8)

    assert failed.value.reason == "timeout"
    assert given[0] <= 1.0
    assert len(given) == 4
    assert given[-1] <= 4.0
