import threading

import pytest

from service.egress.client import Egress, Rules, TargetFailed, TargetRefused
from service.egress.dns import MAX_LOOKUPS, system_addresses
from tests.egress.parts import (
    LOOPBACK,
    NO_CONTENT,
    PUBLIC,
    SHORT,
    TRUSTS_NOBODY,
    Dialer,
    Names,
    answers,
    canary,
    post,
    serve,
)

URL = "https://hooks.example.com/"
NOT_PUBLIC = [
    "127.0.0.1",
    "10.0.0.7",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.192",
    "168.63.129.16",
    "0.0.0.0",
    "::1",
    "fd00:ec2::254",
    "fe80::1%eth0",
    "::ffff:10.0.0.7",
    "64:ff9b::a00:7",
    "2002:a00:7::",
]


def door(names: Names, dialer: Dialer, rules: Rules | None = None) -> Egress:
    return Egress(rules or Rules(), resolve=names, connect=dialer, ssl_context=TRUSTS_NOBODY)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_name_of_an_address_that_is_not_public_is_refused(address: str) -> None:
    names, dialer = Names({"hooks.example.com": [[address]]}), Dialer()

    with pytest.raises(TargetRefused) as refused:
        post(door(names, dialer), URL)

    assert dialer.dialled == []
    assert address not in str(refused.value)


@pytest.mark.parametrize("address", NOT_PUBLIC)
@pytest.mark.parametrize("first", [True, False])
def test_one_address_that_is_not_public_refuses_all(address: str, first: bool) -> None:
    both = [address, PUBLIC] if first else [PUBLIC, address]
    names, dialer = Names({"hooks.example.com": [both]}), Dialer()

    with pytest.raises(TargetRefused):
        post(door(names, dialer), URL)

    assert dialer.dialled == []


def test_a_name_is_asked_for_once_a_call_and_cannot_change_its_mind() -> None:
    rebinding = Names({"hooks.example.com": [[PUBLIC], ["127.0.0.1"]]})
    dialer = Dialer()
    egress = door(rebinding, dialer)

    with pytest.raises(TargetFailed):
        post(egress, URL)
    with pytest.raises(TargetRefused):
        post(egress, URL)

    assert dialer.dialled == [(PUBLIC, 443)]
    assert len(rebinding.asked) == 2


def test_a_name_that_becomes_loopback_does_not_reach_what_listens_there() -> None:
    rebinding = Names({"hooks.example.com": [["127.0.0.1"]]})
    with canary() as listening:
        rules = Rules(ports=frozenset({listening.port}))
        egress = Egress(rules, resolve=rebinding, ssl_context=TRUSTS_NOBODY)

        with pytest.raises(TargetRefused):
            post(egress, f"https://hooks.example.com:{listening.port}/")

        assert not listening.sang()


def test_the_next_address_is_tried_when_one_does_not_connect() -> None:
    names = Names({"localhost": [["::1", "127.0.0.1"]]})
    with serve(answers(NO_CONTENT)) as server:
        dialer = Dialer(server.port, dead=["::1"])

        answer = post(door(names, dialer, LOOPBACK), "http://localhost:3000/")

    assert answer.status == 204
    assert dialer.dialled == [("::1", 3000), ("127.0.0.1", 3000)]


def test_only_the_first_few_addresses_are_tried() -> None:
    many = [f"93.184.216.{n}" for n in range(100)]
    dialer = Dialer()

    with pytest.raises(TargetFailed) as failed:
        post(door(Names({"hooks.example.com": [many]}), dialer), URL)

    assert failed.value.reason == "connect"
    assert dialer.dialled == [(address, 443) for address in many[:4]]


def test_localhost_that_leads_elsewhere_is_judged_as_elsewhere() -> None:
    dialer = Dialer()

    with pytest.raises(TargetRefused, match="https"):
        post(door(Names({"localhost": [[PUBLIC]]}), dialer, LOOPBACK), "http://localhost/")
    with pytest.raises(TargetRefused, match="port"):
        post(door(Names({"localhost": [[PUBLIC]]}), dialer, LOOPBACK), "https://localhost:22/")

    assert dialer.dialled == []


@pytest.mark.parametrize("answer", [{}, {"hooks.example.com": [[]]}], ids=["error", "empty"])
def test_a_name_without_an_address_fails(answer: dict[str, list[list[str]]]) -> None:
    dialer = Dialer()

    with pytest.raises(TargetFailed) as failed:
        post(door(Names(answer), dialer), URL)

    assert failed.value.reason == "dns"
    assert dialer.dialled == []


def test_the_resolver_of_this_machine_knows_this_machine() -> None:
    assert set(system_addresses("localhost")) <= {"127.0.0.1", "::1"}


def test_a_resolver_that_never_answers_is_left_at_the_deadline() -> None:
    over = threading.Event()

    def silent(host: str) -> list[str]:
        over.wait(60)
        return [PUBLIC]

    egress = Egress(Rules(), resolve=silent, connect=Dialer(), ssl_context=TRUSTS_NOBODY)
    try:
        with pytest.raises(TargetFailed) as failed:
            post(egress, URL, SHORT)
    finally:
        over.set()

    assert failed.value.reason == "timeout"


def test_resolvers_that_never_answer_are_not_piled_up() -> None:
    over = threading.Event()
    asked: list[str] = []

    def silent(host: str) -> list[str]:
        asked.append(host)
        over.wait(60)
        return [PUBLIC]

    def post_in_vain() -> None:
        with pytest.raises(TargetFailed, match="timeout"):
            post(egress, URL, SHORT / 50)

    egress = Egress(Rules(), resolve=silent, connect=Dialer(), ssl_context=TRUSTS_NOBODY)
    try:
        while len(asked) < MAX_LOOKUPS:
            post_in_vain()
        post_in_vain()
        post_in_vain()
    finally:
        over.set()

    assert len(asked) == MAX_LOOKUPS


def test_a_lookup_that_ends_makes_room_for_the_next() -> None:
    egress = door(Names({"hooks.example.com": [[PUBLIC]]}), Dialer())

    for _ in range(MAX_LOOKUPS + 1):
        with pytest.raises(TargetFailed, match="connect"):
            post(egress, URL, SHORT * 4)
