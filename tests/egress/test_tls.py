import ssl

import pytest

from service.egress.client import Egress, Rules, TargetFailed
from tests.egress.parts import (
    LOOPBACK,
    NO_CONTENT,
    PUBLIC,
    TRUSTS_NOBODY,
    Dialer,
    Names,
    answers,
    post,
    serve,
)

NAMES = {"hooks.example.com": [[PUBLIC]], "other.example.com": [[PUBLIC]]}


def test_the_judged_address_is_dialled_and_the_name_is_what_tls_and_http_speak_of(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    asked_for: list[str | None] = []
    server_tls.sni_callback = lambda _socket, name, _context: asked_for.append(name)

    with serve(answers(NO_CONTENT), server_tls) as server:
        dialer = Dialer(server.port)
        egress = Egress(Rules(), resolve=Names(NAMES), connect=dialer, ssl_context=client_tls)
        answer = post(egress, "https://Hooks.Example.com./hook")

    assert answer.status == 204
    assert dialer.dialled == [(PUBLIC, 443)]
    assert asked_for == ["hooks.example.com"]
    assert b"\r\nHost: hooks.example.com\r\n" in server.requests[0]


def test_an_address_is_checked_against_the_certificate_as_an_address(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    with serve(answers(NO_CONTENT), server_tls) as server:
        egress = Egress(Rules(), connect=Dialer(server.port), ssl_context=client_tls)

        assert post(egress, f"https://{PUBLIC}/").status == 204
        with pytest.raises(TargetFailed) as failed:
            post(egress, "https://93.184.216.35/")

    assert failed.value.reason == "tls"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("host", "trusted"), [("other.example.com", True), ("hooks.example.com", False)]
)
def test_a_certificate_of_another_name_or_from_nobody_we_trust_gets_no_request(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, host: str, trusted: bool
) -> None:
    context = client_tls if trusted else None
    with serve(answers(NO_CONTENT), server_tls) as server:
        dialer = Dialer(server.port)
        egress = Egress(Rules(), resolve=Names(NAMES), connect=dialer, ssl_context=context)

        with pytest.raises(TargetFailed) as failed:
            post(egress, f"https://{host}/")

    assert failed.value.reason == "tls"
    assert server.requests == []


def test_a_server_without_tls_is_a_tls_failure() -> None:
    egress = Egress(LOOPBACK, ssl_context=TRUSTS_NOBODY)

    with serve(answers(b"hello")) as server, pytest.raises(TargetFailed) as failed:
        post(egress, f"https://127.0.0.1:{server.port}/")

    assert failed.value.reason == "tls"
