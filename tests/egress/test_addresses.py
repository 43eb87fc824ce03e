import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.egress.addresses import denied_kind, is_loopback

FORBIDDEN = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1
127.255.255.254 168.63.129.16 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1
192.0.0.9 192.0.0.170 192.0.0.192 192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.1
192.175.48.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1
255.255.255.255
:: ::1 ::2 ::7f00:1 ::a9fe:a9fe ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:7f00:1
::ffff:0:127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::808:808 64:ff9b:1::1 100::1 100:0:0:1::1
2001:0:7f00:1:: 2001::1 2001:2::1 2001:10::1 2001:20::1 2001:30::1 2001:1ff::1 2001:db8::1
2002:7f00:1:: 2002:a9fe:a9fe:: 2620:4f:8000::1 3fff::1 3fff:fff::1 4000::1 5f00::1 8000::1
fc00::1 fd00:ec2::254 fd20:ce::254 fe80::1 fe80::1%eth0 fe80::a9fe:a9fe fec0::1 ff02::1 ff0e::1
2606:4700:4700::1111%eth0 ::1%lo
""".split()
PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0 168.63.129.17
172.15.255.255 172.32.0.0 192.0.1.1 198.17.255.255 198.20.0.0 223.255.255.255 ::ffff:8.8.8.8
2000::1 2001:200::1 2001:4860:4860::8888 2003::1 2606:4700:4700::1111 3ffe::1
""".split()


@pytest.mark.parametrize("address", FORBIDDEN)
def test_only_ordinary_public_addresses_may_be_connected_to(address: str) -> None:
    assert denied_kind(address) is not None


@pytest.mark.parametrize("address", PUBLIC)
def test_ordinary_public_addresses_may_be_connected_to(address: str) -> None:
    assert denied_kind(address) is None


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "a loopback address"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("10.1.2.3", "a private address"),
        ("169.254.169.254", "a link-local address"),
        ("fe80::1%eth0", "an unusable address"),
        ("2001:0:7f00:1::", "an embedded IPv4 address"),
        ("2001:20::1", "a reserved address"),
    ],
)
def test_a_forbidden_address_says_what_kind_it_is(address: str, kind: str) -> None:
    assert denied_kind(address) == kind


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "1.1.1.1 ", "[::1]"]
)
def test_what_is_no_plain_address_is_denied_kind(text: str) -> None:
    assert denied_kind(text) is not None
    assert not is_loopback(text)


@given(st.ip_addresses())
def test_what_python_calls_special_is_denied_kind(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    special = not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_link_local
    inner = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None

    assert not special or inner is not None or denied_kind(str(ip)) is not None


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_judged_as_the_ipv4_address(
    ip: ipaddress.IPv4Address,
) -> None:
    assert denied_kind(f"::ffff:{ip}") == denied_kind(str(ip))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::1%lo", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::7f00:1", False),
        ("64:ff9b::7f00:1", False),
        ("10.0.0.1", False),
        ("8.8.8.8", False),
    ],
)
def test_loopback_is_this_machine_and_nothing_that_only_looks_so(
    address: str, expected: bool
) -> None:
    assert is_loopback(address) is expected
