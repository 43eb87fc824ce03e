import socket
import ssl
from pathlib import Path

import pytest

from service.egress.client import Egress, TargetFailed, TargetRefused
from tests.egress.parts import (
    LONG,
    LOOPBACK,
    PUBLIC,
    TRUSTS_NOBODY,
    Dialer,
    Handler,
    Names,
    Server,
    answers,
    canary,
    serve,
)

PNG = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        PNG + b"Content-Length: 5\r\n\r\nhello",
        PNG + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        PNG + b"\r\nhello",
    ],
    ids=["length", "chunked", "until close"],
)
def test_a_body_is_fetched_into_the_file(egress: Egress, tmp_path: Path, reply: bytes) -> None:
    file = tmp_path / "image"

    with serve(answers(reply)) as server:
        egress.fetch(server.url, into=file, max_bytes=5, timeout=LONG)

    assert file.read_bytes() == b"hello"
    assert server.requests[0].split(b"\r\n") == [
        b"GET /hook?a=b HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}".encode(),
        b"User-Agent: Rushes",
        b"Connection: close",
        b"Accept-Encoding: identity",
        b"",
        b"",
    ]


def test_a_body_may_be_longer_than_a_head(egress: Egress, tmp_path: Path) -> None:
    body = bytes(1_000_000)
    file = tmp_path / "image"

    with serve(answers(b"HTTP/1.1 200 OK\r\n\r\n" + body)) as server:
        egress.fetch(server.url, into=file, max_bytes=len(body), timeout=LONG)

    assert file.stat().st_size == len(body)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (PNG + b"Content-Length: 6\r\n\r\nhello!", "too_large"),
        (PNG + b"\r\n" + bytes(100_000), "too_large"),
        (PNG + b"Transfer-Encoding: chunked\r\n\r\n6\r\nhello!\r\n0\r\n\r\n", "too_large"),
        (PNG + b"Content-Length: 5\r\n\r\nhel", "protocol"),
        (PNG + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", "protocol"),
        (PNG + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\nxyz\r\n", "protocol"),
    ],
)
def test_a_failed_fetch_leaves_no_file(
    egress: Egress, tmp_path: Path, reply: bytes, reason: str
) -> None:
    file = tmp_path / "image"

    with serve(answers(reply)) as server, pytest.raises(TargetFailed) as failed:
        egress.fetch(server.url, into=file, max_bytes=5, timeout=LONG)

    assert failed.value.reason == reason
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [300, 304, 400, 404, 500])
def test_only_a_success_is_fetched(egress: Egress, tmp_path: Path, status: int) -> None:
    with canary() as elsewhere:
        reply = f"HTTP/1.1 {status} No\r\nLocation: http://127.0.0.1:{elsewhere.port}/\r\n\r\n"
        with serve(answers(reply.encode())) as server, pytest.raises(TargetFailed) as failed:
            egress.fetch(server.url, into=tmp_path / "image", max_bytes=5, timeout=LONG)

        assert not elsewhere.sang()
    assert (failed.value.reason, failed.value.status) == ("status", status)
    assert list(tmp_path.iterdir()) == []


def redirect(where: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {where}\r\nContent-Length: 2\r\n\r\nno".encode()


def in_turn(*replies: bytes) -> Handler:
    """The last one stays."""
    left = list(replies)

    def handler(server: Server, connection: socket.socket) -> None:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return handler


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_with_get(egress: Egress, tmp_path: Path, status: int) -> None:
    file = tmp_path / "image"

    with (
        serve(answers(PNG + b"\r\nhello")) as there,
        serve(answers(redirect(f"{there.url}#part", status))) as here,
    ):
        egress.fetch(here.url, into=file, max_bytes=5, timeout=LONG)

    assert file.read_bytes() == b"hello"
    assert there.requests[0].startswith(b"GET /hook?a=b HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize(
    ("location", "path"),
    [("/cdn/a.png?sig=" + "x" * 1500, None), ("a.png", "/a.png"), ("?c=d", "/hook?c=d")],
)
def test_a_redirect_may_be_relative_and_long(
    egress: Egress, tmp_path: Path, location: str, path: str | None
) -> None:
    with serve(in_turn(redirect(location), PNG + b"\r\nhello")) as server:
        egress.fetch(server.url, into=tmp_path / "image", max_bytes=5, timeout=LONG)

    assert server.requests[1].startswith(f"GET {path or location} HTTP/1.1\r\n".encode())


def test_five_redirects_are_followed_and_no_more(egress: Egress, tmp_path: Path) -> None:
    five = [redirect("/again")] * 5
    with serve(in_turn(*five, PNG + b"\r\nhello")) as server:
        egress.fetch(server.url, into=tmp_path / "image", max_bytes=5, timeout=LONG)

        assert len(server.requests) == 6

    with serve(answers(redirect("/again"))) as server, pytest.raises(TargetFailed) as failed:
        egress.fetch(server.url, into=tmp_path / "other", max_bytes=5, timeout=LONG)

    assert failed.value.reason == "redirects"
    assert len(server.requests) == 6
    assert not (tmp_path / "other").exists()


def test_a_redirect_without_a_place_is_no_success(egress: Egress, tmp_path: Path) -> None:
    with (
        serve(answers(b"HTTP/1.1 302 Found\r\n\r\n")) as server,
        pytest.raises(TargetFailed) as failed,
    ):
        egress.fetch(server.url, into=tmp_path / "image", max_bytes=5, timeout=LONG)

    assert (failed.value.reason, failed.value.status) == ("status", 302)


@pytest.mark.parametrize(
    "where",
    [
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.7/",
        "https://private.example/",
        "https://metadata.google.internal/",
        "https://93.184.216.34:22/",
        "http://93.184.216.34/",
        "//[::ffff:10.0.0.7]/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://user@example.com/",
    ],
)
def test_a_redirect_is_judged_like_the_first_url(tmp_path: Path, where: str) -> None:
    names = Names({"private.example": [["10.0.0.7"]]})
    with serve(answers(redirect(where))) as server:
        dialer = Dialer(server.port)
        egress = Egress(LOOPBACK, resolve=names, connect=dialer, ssl_context=TRUSTS_NOBODY)

        with pytest.raises(TargetRefused):
            egress.fetch(server.url, into=tmp_path / "image", max_bytes=5, timeout=LONG)

    assert [address for address, _ in dialer.dialled] == ["127.0.0.1"]
    assert list(tmp_path.iterdir()) == []


def test_no_redirect_leads_from_https_to_http(
    tmp_path: Path, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Where loopback is allowed, http to it is; not from https."""
    with canary() as plain:
        reply = redirect(f"http://127.0.0.1:{plain.port}/")
        with serve(answers(reply), server_tls) as server:
            egress = Egress(
                LOOPBACK,
                resolve=Names({"hooks.example.com": [[PUBLIC]]}),
                connect=Dialer(server.port),
                ssl_context=client_tls,
            )
            with pytest.raises(TargetRefused, match="from https to http"):
                egress.fetch(
                    "https://hooks.example.com/a", into=tmp_path / "a", max_bytes=5, timeout=LONG
                )

        assert not plain.sang()


def test_no_redirect_leads_from_https_to_http_on_the_same_host(
    tmp_path: Path, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    client_tls.check_hostname = False  # the certificate does not name the loopback address
    egress = Egress(LOOPBACK, ssl_context=client_tls)
    with canary() as plain:
        reply = redirect(f"http://127.0.0.1:{plain.port}/")
        with serve(answers(reply), server_tls) as server:
            url = f"https://127.0.0.1:{server.port}/a"
            with pytest.raises(TargetRefused, match="from https to http"):
                egress.fetch(url, into=tmp_path / "a", max_bytes=5, timeout=LONG)

        assert not plain.sang()


@pytest.mark.parametrize(
    ("reply", "broke_off"),
    [
        (PNG + b"Content-Length: 5\r\n\r\nhel", True),
        (PNG + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", True),
        (b"HTTP/1.1 200", True),
        (b"", True),
        (b"another protocol\r\n\r\n", False),
        (PNG + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\nxyz\r\n", False),
    ],
)
def test_a_connection_that_broke_off_is_told_from_what_is_no_http(
    egress: Egress, tmp_path: Path, reply: bytes, broke_off: bool
) -> None:
    with serve(answers(reply)) as server, pytest.raises(TargetFailed) as failed:
        egress.fetch(server.url, into=tmp_path / "image", max_bytes=5, timeout=LONG)

    assert (failed.value.reason, failed.value.broke_off) == ("protocol", broke_off)


def test_a_fetch_keeps_to_the_same_rules(egress: Egress, tmp_path: Path) -> None:
    with pytest.raises(TargetRefused):
        egress.fetch("https://169.254.169.254/", into=tmp_path / "image", max_bytes=5, timeout=LONG)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("reply", "broke_off"), [(b"", True), (b"no tls\r\n\r\n", False)])
def test_a_handshake_that_broke_off_is_told_from_what_is_no_tls(
    tmp_path: Path, reply: bytes, broke_off: bool
) -> None:
    with serve(answers(reply)) as server, pytest.raises(TargetFailed) as failed:
        Egress(
            LOOPBACK,
            resolve=Names({"hooks.example.com": [[PUBLIC]]}),
            connect=Dialer(server.port),
            ssl_context=TRUSTS_NOBODY,
        ).fetch("https://hooks.example.com/", into=tmp_path / "a", max_bytes=5, timeout=LONG)

    assert (failed.value.reason, failed.value.broke_off) == ("tls", broke_off)
