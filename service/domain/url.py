"""The reader of URLs that customers name."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

MAX_CHARACTERS = 2048


_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-\[\]-~]*")  # printable ASCII without the backslash
_URL = re.compile(r"(?P<scheme>[a-z]+)://(?P<authority>[^/?]*)(?P<path>.*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[0-9]*))?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class TargetRefused(Exception):
    """The rules forbid this target: nothing was sent and no socket was opened.

    `reason` may be shown to the customer: it never contains an address that a name resolved to.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Target:
    """A parsed URL; the host is in lower case, without brackets and trailing dot."""

    scheme: str
    host: str
    port: int
    path: str  # with the query
    is_address: bool  # the host is an IP address: no DNS lookup

    @property
    def authority(self) -> str:
        """Format for the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def split_url(url: str) -> Target:
    """Split a URL, wherever it leads. Raises TargetRefused for one that is malformed."""
    parts = _URL.fullmatch(_plain(url))
    if parts is None or parts["scheme"].lower() not in _DEFAULT_PORTS:
        raise TargetRefused("the URL must begin with https://")
    if "@" in parts["authority"]:
        raise TargetRefused("the URL must not contain a user or a password")
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if authority is None:
        raise TargetRefused("the host is neither a name nor an address")
    scheme = parts["scheme"].lower()
    host, is_address = _host(authority["ipv6"], authority["name"])
    path = parts["path"] if parts["path"].startswith("/") else "/" + parts["path"]
    return Target(scheme, host, _port(authority["port"], scheme), path, is_address)


def _plain(url: str) -> str:
    if len(url) > MAX_CHARACTERS:
        raise TargetRefused(f"the URL must not be longer than {MAX_CHARACTERS} characters")
    # International host names must be in their xn-- form.
    if not _PLAIN.fullmatch(url):
        raise TargetRefused("the URL must be plain ASCII, without spaces or backslashes")
    if "#" in url:
        raise TargetRefused("the URL must not contain a fragment")
    return url


def _port(text: str | None, scheme: str) -> int:
    if not text:
        return _DEFAULT_PORTS[scheme]
    if len(text) > 5 or not 0 < int(text) < 65536:
        raise TargetRefused("the port is not a number from 1 to 65535")
    return int(text)


def _host(ipv6: str | None, name: str | None) -> tuple[str, bool]:
    """Return the host, and True if it is an IP address."""
    try:
        if ipv6 is not None:
            return str(IPv6Address(ipv6)), True
        host = (name or "").lower().removesuffix(".")
        # Resolvers read 0x7f.1, 0177.0.0.1 and 2130706433 as addresses: a host that ends in a
        # number is an address here as well, and must be in the usual form.
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            return str(IPv4Address(host)), True
    except AddressValueError:
        raise TargetRefused("the host is not a valid address") from None
    return host, False
