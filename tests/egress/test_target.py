import socket
import string
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.egress.client import Egress, Rules, TargetRefused, check_url
from service.egress.target import parse
from tests.egress.parts import LOOPBACK, TRUSTS_NOBODY, Dialer, Names, canary, post

# Every way to write a host that leads, or led somewhere once, to where a customer must not reach.
HOSTS = """
127.0.0.1 127.0.0.1. 127.1 127.0.1 0177.0.0.1 0x7f.1 0x7F.0.0.1 0x7f000001 2130706433 017700000001
127.0.0.1.. 00127.0.0.1 127.0.0.0x1 0 0.0.0.0 0x0 0x localhost LOCALHOST localhost. api.localhost
[::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::7f00:1] [::1%25lo] [::1%lo]
169.254.169.254 2852039166 0xa9fea9fe 0251.0376.0251.0376 169.254.43518 [::ffff:169.254.169.254]
[::ffff:a9fe:a9fe] [64:ff9b::a9fe:a9fe] [64:ff9b:1::a9fe:a9fe] [2002:7f00:1::] [2002:a9fe:a9fe::]
[2001:0:7f00:1::] [fd00:ec2::254] [fd20:ce::254] [fe80::1] [fe80::1%25eth0] [fec0::1] [ff02::1]
[5f00::1] [100::1] [2001:db8::1] 10.0.0.1 10.1 0xa.1 172.16.0.1 192.168.1.1 192.168.257 100.64.0.1
100.100.100.200 192.0.0.192 168.63.129.16 198.18.0.1 192.0.2.1 198.51.100.1 203.0.113.1 224.0.0.1
240.0.0.1 255.255.255.255 256.256.256.256 1.2.3.4.5 metadata.google.internal
metadata.google.internal. METADATA.GOOGLE.INTERNAL metadata printer.local db.lan router.home.arpa
\uff11\uff12\uff17.0.0.1 127\u30020\u30020\u30021 \u2460\u2461\u2466.0.0.1 \u24d8ocalhost
loca\u00adlhost %31%32%37.0.0.1 127.0.0.1%00.example.com 127.0.0.1%2eexample.com
127.0.0.1,example.com [127.0.0.1] [v1.fe80] [::1 ::1] ::1 [] .
""".split()

TEXTS = [
    "",
    "https",
    "https://",
    "https:///path",
    "https://:443/",
    "https:example.com",
    "//example.com",
    "/hook",
    "http://hooks.example.com",
    "HTTP://hooks.example.com",
    "ftp://hooks.example.com",
    "file:///etc/passwd",
    "gopher://hooks.example.com/_x",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "data:text/plain,x",
    "https://hooks.example.com:22/",
    "https://hooks.example.com:80/",
    "https://hooks.example.com:0/",
    "https://hooks.example.com:65979/",
    "https://hooks.example.com:99999/",
    "https://hooks.example.com:-1/",
    "https://hooks.example.com:4\uff143/",
    "https://hooks.example.com:443:443/",
    "https://user@hooks.example.com/",
    "https://user:password@hooks.example.com/",
    "https://hooks.example.com@127.0.0.1/",
    "https://127.0.0.1@hooks.example.com/",
    "https://@hooks.example.com/",
    "https://hooks.example.com#@127.0.0.1/",
    "https://hooks.example.com/#",
    "https://hooks.example.com\\@127.0.0.1/",
    "https:\\\\hooks.example.com/",
    "https://hooks.example.com/a\\b",
    " https://hooks.example.com/",
    "https://hooks.example.com/ ",
    "https://hooks.example.com/\r\nX: y",
    "https://hooks.example.com\n/",
    "https://hooks.example\t.com/",
    "https://hooks.example.com/\x00",
    "https://hooks.example.com/\x7f",
    "https://hooks.example.com/ü",
    "https://hööks.example.com/",
    "https://hooks.example.com/\ud800",
    "https://hooks..example.com/",
    "https://-hooks.example.com/",
    "https://hooks-.example.com/",
    "https://hooks.exam!ple.com/",
    f"https://{'a' * 64}.example.com/",
    f"https://{'a.' * 127}com/",
    f"https://hooks.example.com/{'a' * 2023}",
]


@pytest.mark.parametrize("host", HOSTS)
def test_a_hostile_host_is_refused_before_anything_is_asked_or_opened(host: str) -> None:
    names, dialer = Names({}), Dialer()
    with canary() as listening:
        rules = Rules(ports=frozenset({443, listening.port}))
        for url in (f"https://{host}:{listening.port}/", f"https://{host}/latest/meta-data"):
            with pytest.raises(TargetRefused):
                check_url(url, rules)
            with pytest.raises(TargetRefused):
                post(Egress(rules, resolve=names, connect=dialer, ssl_context=TRUSTS_NOBODY), url)
            with pytest.raises(TargetRefused):
                post(Egress(rules, ssl_context=TRUSTS_NOBODY), url)

        assert not listening.sang()
    assert (names.asked, dialer.dialled) == ([], [])


@pytest.mark.parametrize("url", TEXTS)
def test_a_url_that_breaks_a_rule_is_refused_before_anything_is_asked_or_opened(url: str) -> None:
    names, dialer = Names({"hooks.example.com": [["93.184.216.34"]]}), Dialer()

    with pytest.raises(TargetRefused) as refused:
        check_url(url, Rules())
    with pytest.raises(TargetRefused):
        post(Egress(Rules(), resolve=names, connect=dialer, ssl_context=TRUSTS_NOBODY), url)

    assert refused.value.reason == str(refused.value)
    assert (names.asked, dialer.dialled) == ([], [])


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com:443",
        "https://hooks.example.com:8443/a/b?c=d&e=%20f@g:h",
        "HTTPS://Hooks.Example.COM./",
        "https://hooks.example.com?a=b",
        "https://xn--hks-sna.example.com/",
        "https://_under.score.example.com/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]:8443/",
        "https://1.example.com/",
        f"https://hooks.example.com/{'a' * 2022}",
    ],
)
def test_a_public_https_url_is_accepted(url: str) -> None:
    check_url(url, Rules())


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "path", "authority"),
    [
        ("https://A.example.", "https", "a.example", 443, "/", "a.example"),
        ("https://a.example:8443?q", "https", "a.example", 8443, "/?q", "a.example:8443"),
        ("http://[::1]:80/x", "http", "::1", 80, "/x", "[::1]"),
        ("http://127.0.0.1:443/x", "http", "127.0.0.1", 443, "/x", "127.0.0.1:443"),
    ],
)
def test_a_url_is_read_into_what_goes_on_the_wire(
    url: str, scheme: str, host: str, port: int, path: str, authority: str
) -> None:
    target = parse(url, LOOPBACK)

    assert (target.scheme, target.host, target.port, target.path) == (scheme, host, port, path)
    assert target.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "https://127.0.0.1:9000/",
        "http://[::1]:8000/",
        "http://localhost:3000/hook",
        "https://app.localhost:3000/hook",
        "https://hooks.example.com/",
    ],
)
def test_where_loopback_is_allowed_it_may_be_http_on_any_port(url: str) -> None:
    check_url(url, LOOPBACK)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "http://8.8.8.8/",
        "https://8.8.8.8:9000/",
        "https://hooks.example.com:9000/",
        "http://10.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/",
        "http://0.0.0.0:8000/",
        "http://[::]:8000/",
        "http://[::1%25lo]:8000/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1:000080/",
        "ftp://127.0.0.1/",
        "http://user@127.0.0.1/",
        "https://metadata.google.internal/",
        "http://localhost.example.com/",
        "http://notlocalhost:3000/",
    ],
)
def test_where_loopback_is_allowed_nothing_else_is(url: str) -> None:
    with pytest.raises(TargetRefused):
        check_url(url, LOOPBACK)


def test_the_ports_are_the_ones_of_the_rules() -> None:
    check_url("https://hooks.example.com:9443/", Rules(ports=frozenset({9443})))

    with pytest.raises(TargetRefused, match="the port must be one of 9443"):
        check_url("https://hooks.example.com/", Rules(ports=frozenset({9443})))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://a:b@hooks.example.com/", "the URL must not contain a user or a password"),
        ("https://10.0.0.1/", "the host is a private address"),
        ("https://0x7f.1/", "the host is not a valid address"),
        ("https://localhost/", "the host is this machine"),
        ("http://hooks.example.com/", "the URL must begin with https://"),
        ("https://hooks.example.com:80/", "the port must be one of 443, 8443"),
        ("https://h\u00f6\u00f6ks.example.com/", "the URL must be plain ASCII"),
    ],
)
def test_a_refusal_says_what_to_change(url: str, reason: str) -> None:
    with pytest.raises(TargetRefused) as refused:
        check_url(url, Rules())

    assert refused.value.reason.startswith(reason)


NASTY = st.sampled_from(
    [*"/:@#?%.[]\\ \t\r\n\0-_0x", "https://", "http://", "127.0.0.1", "::1", "%25", "localhost"]
)
PIECES = st.lists(NASTY | st.text(max_size=3), max_size=12).map("".join)


@pytest.mark.parametrize("rules", [Rules(), LOOPBACK], ids=["strict", "loopback"])
@given(text=st.text() | PIECES | PIECES.map("https://{}".format))
@example(text="https://[")
@example(text="https://[::1]]:443")
@example(text="https://hooks.example.com:" + "9" * 2000)
@example(text="https://" + "1" * 2000)
def test_no_text_makes_it_raise_anything_but_a_refusal(text: str, rules: Rules) -> None:
    with suppress(TargetRefused):
        check_url(text, rules)


NUMBERS = st.integers(0, 2**33).flatmap(
    lambda n: st.sampled_from([f"{n}", f"{n:#x}", f"0{n:o}", f"{n % 256}", f"{n % 256:#X}"])
)


@given(host=st.lists(NUMBERS, min_size=1, max_size=5).map(".".join))
def test_what_a_resolver_takes_for_an_address_is_only_accepted_in_the_usual_form(host: str) -> None:
    try:
        usual = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        usual = None

    with suppress(TargetRefused):
        check_url(f"https://{host}/", Rules())
        assert host == usual


@given(host=st.text(string.ascii_letters + string.digits + ".-_xX", max_size=40))
def test_a_host_that_counts_as_a_name_is_no_address_to_a_resolver(host: str) -> None:
    with suppress(TargetRefused):
        if not parse(f"https://{host}/", Rules()).is_address:
            with pytest.raises(OSError, match="illegal IP address"):
                socket.inet_aton(host)
