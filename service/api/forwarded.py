"""Apply X-Forwarded headers: the address a client used to reach a proxy."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

_PREFIX = "forwarded_prefix"  # in the scope
_VALID = {
    b"x-forwarded-proto": re.compile(r"https?"),
    b"x-forwarded-host": re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?"),
    b"x-forwarded-prefix": re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]{1,200}){0,8}/?"),
    b"x-forwarded-for": re.compile(r"[0-9A-Fa-f:.]{2,45}"),  # and an address
}


class ForwardedHeaders:
    """ASGI middleware: trust X-Forwarded-Proto, -Host, -Prefix and -For from the listed proxies.

    X-Forwarded-Prefix is the path prefix that a proxy removed. Of a list, the last value counts: it
    is of the proxy itself, and those before may be of anybody.
    """

    def __init__(self, app: ASGIApp, trusted_proxies: Sequence[str]) -> None:
        self.app = app
        self._networks = [ip_network(address, strict=False) for address in trusted_proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = {name: text for name, text in scope["headers"] if name in _VALID}
            if headers and self._trusts(scope.get("client")):
                _apply(scope, headers)
        await self.app(scope, receive, send)

    def _trusts(self, client: tuple[str, int] | None) -> bool:
        address = _address(client[0]) if client else None
        return address is not None and any(address in network for network in self._networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _apply(scope: Scope, headers: dict[bytes, bytes]) -> None:
    valid = {}
    for name, value in headers.items():
        text = value.decode("latin-1").rpartition(",")[2].strip()
        if _VALID[name].fullmatch(text):
            valid[name] = text
    scope["scheme"] = valid.get(b"x-forwarded-proto", scope["scheme"])
    scope[_PREFIX] = valid.get(b"x-forwarded-prefix", "").rstrip("/")
    if host := valid.get(b"x-forwarded-host"):
        rest = [header for header in scope["headers"] if header[0] != b"host"]
        scope["headers"] = [(b"host", host.encode()), *rest]
    if client := _address(valid.get(b"x-forwarded-for", "")):
        scope["client"] = (str(client), 0)


def base_url(request: Request) -> str:
    """Return the service's address as the client wrote it, without a trailing slash."""
    scope = request.scope
    host = request.headers.get("host", "localhost")
    return f"{scope['scheme']}://{host}{base_path(request)}"


def base_path(request: Request) -> str:
    """Return the path prefix that a proxy took off, without a trailing slash; mostly empty."""
    prefix: str = request.scope.get(_PREFIX, "")
    return prefix
