"""Sends to and fetches from URLs that a customer named, within the rules and within a deadline."""

import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urljoin

import httpcore

from service.egress.connection import Connect, Stream, dial
from service.egress.deadline import Deadline, Reason, TargetFailed
from service.egress.dns import DnsResolver, Resolve, system_addresses
from service.egress.target import (
    MAX_CHARACTERS,
    Rules,
    Target,
    TargetRefused,
    check_address,
    check_url,
    parse,
)

__all__ = [
    "Answer",
    "Egress",
    "Fetched",
    "Reason",
    "Rules",
    "TargetFailed",
    "TargetRefused",
    "check_url",
]

USER_AGENT = "Rushes"
_MAX_HEADER_CHARACTERS = 200
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5


@dataclass(frozen=True)
class Answer:
    """What the other side made of a post. `retry_after` is as it was sent, unless absurdly long."""

    status: int
    retry_after: str | None
    seconds: float


@dataclass(frozen=True)
class Fetched:
    """What came: its type as the other side calls it, which proves nothing, and its size."""

    content_type: str | None
    size_bytes: int


class Egress:
    """Calls what customers name, and nothing that the rules forbid. Threads may share one.

    A name is asked for once a call, every address it has must be allowed, and the connection goes
    to an address that was judged: a name cannot change its mind in between. Redirects of a fetch
    are judged like its URL, those of a post are not followed. Cookies and proxies of the
    environment are not kept or used; no connection serves twice.

    Every method raises TargetRefused or TargetFailed, and ends by `timeout`, DNS included.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        resolve: Resolve = system_addresses,
        connect: Connect = socket.create_connection,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`resolve` may block and may raise OSError; each call of it has a thread of its own."""
        self._rules = rules
        self._lookups = DnsResolver(resolve)
        self._connect = connect
        self._ssl_context = ssl_context or httpcore.default_ssl_context()
        self._ssl_context.set_alpn_protocols(["http/1.1"])

    def post(
        self, url: str, *, headers: Mapping[str, str], content: bytes, timeout: timedelta
    ) -> Answer:
        """Whatever the status is, it is an answer. The body is left unread."""
        deadline = Deadline(timeout)
        target = parse(url, self._rules)
        request = _request("POST", target, headers, content)
        with self._open(target, deadline) as stream:
            response = _exchange(stream, request)
            retry_after = _header(response, b"retry-after")
            return Answer(response.status, retry_after, deadline.spent())

    def fetch(self, url: str, *, into: Path, max_bytes: int, timeout: timedelta) -> Fetched:
        """Only a 2xx is fetched, after five redirects at most, none of them from https to http; on
        any failure there is no file `into`."""
        deadline = Deadline(timeout)
        target = parse(url, self._rules)
        for _ in range(_MAX_REDIRECTS + 1):
            request = _request("GET", target, {"Accept-Encoding": "identity"}, b"")
            with self._open(target, deadline) as stream:
                response = _exchange(stream, request)
                if 200 <= response.status < 300:
                    content_type = _header(response, b"content-type")
                    with _quoting_nothing(stream), _removed_on_failure(into):
                        return Fetched(content_type, _save(response, into, max_bytes))
                target = self._moved(target, response)
        raise TargetFailed("redirects")

    def _moved(self, target: Target, response: httpcore.Response) -> Target:
        """Where a redirect leads, read and judged like the URL that a customer named."""
        location = _header(response, b"location", MAX_CHARACTERS)
        if response.status not in _REDIRECTS or location is None:
            raise TargetFailed("status", response.status)
        url = urljoin(f"{target.scheme}://{target.authority}{target.path}", location)
        moved = parse(url.partition("#")[0], self._rules)
        if (target.scheme, moved.scheme) == ("https", "http"):
            raise TargetRefused("it is redirected from https to http")
        return moved

    @contextmanager
    def _open(self, target: Target, deadline: Deadline) -> Iterator[Stream]:
        """The one place where a socket is opened, to an address that was judged just before."""
        addresses = self._judged_addresses(target, deadline)
        connection = dial(addresses, target.port, self._connect, deadline)
        with closing(Stream(connection, deadline)) as stream:
            if target.scheme == "https":
                stream.start_tls(self._ssl_context, target.host)
            yield stream

    def _judged_addresses(self, target: Target, deadline: Deadline) -> Sequence[str]:
        """All of them may be connected to, or TargetRefused is raised."""
        addresses: Sequence[str] = [target.host]
        if not target.literal:
            addresses = self._lookups.addresses(target.host, deadline)
        for address in addresses:
            check_address(target, address, self._rules)
        return addresses


def _request(
    method: str, target: Target, headers: Mapping[str, str], content: bytes
) -> httpcore.Request:
    """The headers that say where a message goes and where it ends are ours, whoever sets them."""
    ours = {"Host": target.authority, "User-Agent": USER_AGENT, "Connection": "close"}
    if method == "POST":
        ours["Content-Length"] = str(len(content))
    taken = {name.lower() for name in (*ours, "Content-Length", "Transfer-Encoding")}
    theirs = [(name, value) for name, value in headers.items() if name.lower() not in taken]
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    return httpcore.Request(method, url, headers=[*ours.items(), *theirs], content=content)


def _exchange(stream: Stream, request: httpcore.Request) -> httpcore.Response:
    with _quoting_nothing(stream):
        response = httpcore.HTTP11Connection(request.url.origin, stream).handle_request(request)
    stream.head_done = True
    return response


@contextmanager
def _quoting_nothing(stream: Stream) -> Iterator[None]:
    try:
        yield
    except httpcore.RemoteProtocolError:
        # Its text quotes what came, which a tenant must not read: it ends here.
        raise TargetFailed("protocol", broke_off=stream.ended) from None


@contextmanager
def _removed_on_failure(file: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _save(response: httpcore.Response, into: Path, max_bytes: int) -> int:
    size_bytes = 0
    with into.open("wb") as file:
        for chunk in response.iter_stream():
            size_bytes += len(chunk)
            if size_bytes > max_bytes:
                raise TargetFailed("too_large")
            file.write(chunk)
    return size_bytes


def _header(
    response: httpcore.Response, name: bytes, max_characters: int = _MAX_HEADER_CHARACTERS
) -> str | None:
    """The first of that name, if it is short and plain."""
    value = next((value for key, value in response.headers if key.lower() == name), b"")
    if not value.isascii() or len(value) > max_characters:
        return None
    return value.decode() or None
