import socket
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from service.egress.client import Answer, Egress, TargetFailed
from tests.egress.parts import (
    LONG,
    NO_CONTENT,
    Server,
    answers,
    canary,
    post,
    serve,
)


def test_a_post_says_what_it_was_given_and_who_we_are(egress: Egress) -> None:
    with serve(answers(NO_CONTENT)) as server:
        answer = egress.post(
            server.url, headers={"webhook-id": "msg_1"}, content=b'{"a": 1}', timeout=LONG
        )

    assert answer == Answer(204, None)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /hook?a=b HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}".encode(),
        b"User-Agent: Rushes",
        b"Connection: close",
        b"Content-Length: 8",
        b"webhook-id: msg_1",
    ]
    assert body == b'{"a": 1}'


def test_headers_that_frame_a_message_cannot_be_given(egress: Egress) -> None:
    theirs = ["host", "CONTENT-LENGTH", "Transfer-Encoding", "connection", "user-agent"]

    with serve(answers(NO_CONTENT)) as server:
        egress.post(server.url, headers=dict.fromkeys(theirs, "evil"), content=b"{}", timeout=LONG)

    assert b"evil" not in server.requests[0]


def test_any_status_is_an_answer(egress: Egress) -> None:
    reply = b"HTTP/1.1 503 Busy\r\nretry-after: 120\r\nContent-Length: 0\r\n\r\n"

    with serve(answers(reply)) as server:
        answer = post(egress, server.url)

    assert (answer.status, answer.retry_after) == (503, "120")


@pytest.mark.parametrize("value", [b"9" * 201, b"\xff", b""], ids=["long", "not ascii", "empty"])
def test_an_absurd_retry_after_is_left_out(egress: Egress, value: bytes) -> None:
    with serve(answers(b"HTTP/1.1 429 Slow down\r\nRetry-After: %b\r\n\r\n" % value)) as server:
        assert post(egress, server.url).retry_after is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(egress: Egress, status: int) -> None:
    with canary() as elsewhere:
        reply = f"HTTP/1.1 {status} Go\r\nLocation: http://127.0.0.1:{elsewhere.port}/\r\n\r\n"
        with serve(answers(reply.encode())) as server:
            assert post(egress, server.url).status == status

        assert not elsewhere.sang()
    assert len(server.requests) == 1


def test_a_cookie_is_not_brought_back_and_no_connection_is_used_twice(egress: Egress) -> None:
    with serve(
        answers(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
    ) as server:
        post(egress, server.url)
        post(egress, server.url)

    assert len(server.requests) == 2
    assert b"a=b" not in server.requests[1].partition(b"\r\n")[2]


def test_the_proxies_of_the_environment_are_not_used(
    egress: Egress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with canary() as proxy, serve(answers(NO_CONTENT)) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "")

        assert post(egress, server.url).status == 204
        assert not proxy.sang()


def test_a_body_without_end_is_not_waited_for(egress: Egress) -> None:
    left_alone = threading.Event()

    def endless(_server: Server, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        try:
            while True:
                connection.sendall(bytes(65536))
        except OSError:
            left_alone.set()

    with serve(endless) as server:
        assert post(egress, server.url).status == 200
        assert left_alone.wait(20)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6 canary\r\n",
        b"-ERR canary\r\n\r\n",
        b"<html>canary</html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: canary\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbroken",
        b"HTTP/1.1 abc canary\r\n\r\n",
    ],
)
def test_what_is_not_http_fails_and_is_not_quoted(egress: Egress, reply: bytes) -> None:
    with serve(answers(reply)) as server, pytest.raises(TargetFailed) as failed:
        post(egress, server.url)

    assert failed.value.reason == "protocol"
    assert "canary" not in "".join(traceback.format_exception(failed.value))
    assert str(failed.value) == "protocol"


@pytest.mark.parametrize(
    "endless",
    [b"X-Flood: flood\r\n", b"X", b"HTTP/1.1 100 Continue\r\n\r\n"],
    ids=["headers", "one header", "interim answers"],
)
def test_a_flood_of_headers_is_cut_off(egress: Egress, endless: bytes) -> None:
    def flood(server: Server, connection: socket.socket) -> None:
        if not endless.startswith(b"HTTP"):
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not server.stopped.is_set():
            connection.sendall(endless * 1000)

    with serve(flood) as server, pytest.raises(TargetFailed) as failed:
        post(egress, server.url)

    assert failed.value.reason == "protocol"


def test_nobody_listening_is_told_from_a_name_that_does_not_exist(egress: Egress) -> None:
    with canary() as closed:
        port = closed.port

    with pytest.raises(TargetFailed) as failed:
        post(egress, f"http://127.0.0.1:{port}/")

    assert failed.value.reason == "connect"


def test_an_answer_given_before_the_body_was_read_counts(egress: Egress) -> None:
    def hasty() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(10)
            connection.sendall(b"HTTP/1.1 413 Too large\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=hasty)
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        answer = egress.post(url, headers={}, content=bytes(20_000_000), timeout=LONG)
        server.join()

    assert answer.status == 413


def test_threads_may_share_one_door(egress: Egress) -> None:
    with serve(answers(NO_CONTENT)) as server, ThreadPoolExecutor(8) as pool:
        urls = [f"{server.url}&n={n}" for n in range(40)]
        given = list(pool.map(lambda url: post(egress, url).status, urls))

    assert given == [204] * 40
    assert sorted(request.split()[1] for request in server.requests) == sorted(
        f"/hook?a=b&n={n}".encode() for n in range(40)
    )


def test_no_time_at_all_is_a_timeout(egress: Egress) -> None:
    with canary() as listening:
        with pytest.raises(TargetFailed) as failed:
            post(egress, f"http://127.0.0.1:{listening.port}/", timedelta(0))

        assert not listening.sang()
    assert failed.value.reason == "timeout"
