from pathlib import Path

import pytest

from service.egress.client import Egress, Fetched, TargetFailed, TargetRefused
from tests.egress.parts import LONG, answers, canary, serve

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
        fetched = egress.fetch(server.url, into=file, most_bytes=5, timeout=LONG)

    assert fetched == Fetched("image/png", 5)
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
        fetched = egress.fetch(server.url, into=file, most_bytes=len(body), timeout=LONG)

    assert fetched == Fetched(None, len(body))
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
        egress.fetch(server.url, into=file, most_bytes=5, timeout=LONG)

    assert failed.value.reason == reason
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308, 400, 404, 500])
def test_only_a_success_is_fetched_and_no_redirect_is_followed(
    egress: Egress, tmp_path: Path, status: int
) -> None:
    with canary() as elsewhere:
        reply = f"HTTP/1.1 {status} No\r\nLocation: http://127.0.0.1:{elsewhere.port}/\r\n\r\n"
        with serve(answers(reply.encode())) as server, pytest.raises(TargetFailed) as failed:
            egress.fetch(server.url, into=tmp_path / "image", most_bytes=5, timeout=LONG)

        assert not elsewhere.sang()
    assert (failed.value.reason, failed.value.status) == ("status", status)
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_keeps_to_the_same_rules(egress: Egress, tmp_path: Path) -> None:
    with pytest.raises(TargetRefused):
        egress.fetch(
            "https://169.254.169.254/", into=tmp_path / "image", most_bytes=5, timeout=LONG
        )

    assert list(tmp_path.iterdir()) == []
