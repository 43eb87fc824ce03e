"""How a client reached the service, where a proxy stands between: by its X-Forwarded headers."""

import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

_PREFIX = "forwarded_prefix"  # in the scope
_SOUND = {
    b"x-forwarded-proto": re.compile(r"https?"),
    b"x-forwarded-host": re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?"),
    b"x-forwarded-prefix": re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]{1,200}){0,8}/?"),
}


class Forwarded:
    """Believes X-Forwarded-Proto, -Host and -Prefix of the proxies that the settings name.

    A proxy that takes a prefix off the path says which; of a list, the last is what it added.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self.app = app
        self._trusted = [ip_network(address, strict=False) for address in trusted]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = {name: text for name, text in scope["headers"] if name in _SOUND}
            if given and self._trusts(scope.get("client")):
                _take_over(scope, given)
        await self.app(scope, receive, send)

    def _trusts(self, client: tuple[str, int] | None) -> bool:
        try:
            address = ip_address(client[0] if client else "")
        except ValueError:
            return False
        return any(address in network for network in self._trusted)


def _take_over(scope: Scope, given: dict[bytes, bytes]) -> None:
    sound = {}
    for name, listed in given.items():
        text = listed.decode("latin-1").rpartition(",")[2].strip()
        if _SOUND[name].fullmatch(text):
            sound[name] = text
    scope["scheme"] = sound.get(b"x-forwarded-proto", scope["scheme"])
    scope[_PREFIX] = sound.get(b"x-forwarded-prefix", "").rstrip("/")
    if host := sound.get(b"x-forwarded-host"):
        others = [header for header in scope["headers"] if header[0] != b"host"]
        scope["headers"] = [(b"host", host.encode()), *others]


def reached_at(request: Request) -> str:
    """The service's address as the client wrote it, without a slash at the end."""
    scope = request.scope
    host = request.headers.get("host", "localhost")
    return f"{scope['scheme']}://{host}{scope.get(_PREFIX, '')}"
