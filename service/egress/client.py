"""HTTP client for URLs that a customer names, with rules for targets and one deadline a call."""

import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from urllib.parse import urljoin

import httpcore

from service.domain.url import MAX_CHARACTERS, Target, TargetRefused
from service.egress.connection import Connect, Stream, dial
from service.egress.deadline import Deadline, Reason, TargetFailed
from service.egress.dns import DnsResolver, Resolve, system_addresses
from service.egress.target import Rules, check_address, check_url, parse

__all__ = [
    "Answer",
    "Egress",
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

# Read once: the certificates of the authorities take longer to read than a call.
_default_tls = cache(httpcore.default_ssl_context)


@dataclass(frozen=True)
class Answer:
    """The response to a POST. `retry_after` is the header's text, unless it is too long."""

    status: int
    retry_after: str | None


class Egress:
    """HTTP client that only connects where the rules allow. Thread-safe.

    A name is resolved once a call, all its addresses must be allowed, and the connection goes to
    one of them, which prevents DNS rebinding. Redirects of `fetch` are checked like its URL; `post`
    follows none. Cookies, proxies of the environment and keep-alive are not used.

    Every method raises TargetRefused or TargetFailed, and ends within `timeout`, DNS included.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        resolve: Resolve = system_addresses,
        connect: Connect = socket.create_connection,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`resolve` may block or raise OSError; each call runs in its own thread."""
        self._rules = rules
        self._resolver = DnsResolver(resolve)
        self._connect = connect
        self._ssl_context = ssl_context or _default_tls()
        self._ssl_context.set_alpn_protocols(["http/1.1"])

    def post(
        self, url: str, *, headers: Mapping[str, str], content: bytes, timeout: timedelta
    ) -> Answer:
        """Send a POST and return the response, whatever its status. Its body is not read."""
        deadline = Deadline(timeout)
        target = parse(url, self._rules)
        request = _request("POST", target, headers, content)
        with self._open(target, deadline) as stream:
            response = _exchange(stream, request)
            return Answer(response.status, _header(response, b"retry-after"))

    def fetch(self, url: str, *, into: Path, max_bytes: int, timeout: timedelta) -> None:
        """Save a 2xx response to `into`, after at most five redirects, none from https to http.
        On any failure `into` does not exist."""
        deadline = Deadline(timeout)
        target = parse(url, self._rules)
        for _ in range(_MAX_REDIRECTS + 1):
            request = _request("GET", target, {"Accept-Encoding": "identity"}, b"")
            with self._open(target, deadline) as stream:
                response = _exchange(stream, request)
                if 200 <= response.status < 300:
                    with _hide_protocol_errors(stream), _unlink_on_failure(into):
                        _save(response, into, max_bytes)
                    return
                target = self._redirect_target(target, response)
        raise TargetFailed("redirects")

    def _redirect_target(self, target: Target, response: httpcore.Response) -> Target:
        """Parse and check the target of a redirect."""
        location = _header(response, b"location", MAX_CHARACTERS)
        if response.status not in _REDIRECTS or location is None:
            raise TargetFailed("status", response.status)
        url = urljoin(f"{target.scheme}://{target.authority}{target.path}", location)
        redirect = parse(url.partition("#")[0], self._rules)
        if (target.scheme, redirect.scheme) == ("https", "http"):
            raise TargetRefused("it is redirected from https to http")
        return redirect

    @contextmanager
    def _open(self, target: Target, deadline: Deadline) -> Iterator[Stream]:
        """Connect to an address that was just checked; no socket is opened anywhere else."""
        addresses = self._allowed_addresses(target, deadline)
        connection = dial(addresses, target.port, self._connect, deadline)
        with closing(Stream(connection, deadline)) as stream:
            if target.scheme == "https":
                stream.start_tls(self._ssl_context, target.host)
            yield stream

    def _allowed_addresses(self, target: Target, deadline: Deadline) -> Sequence[str]:
        """Resolve the host. Raises TargetRefused if any of its addresses is denied."""
        addresses: Sequence[str] = [target.host]
        if not target.is_address:
            addresses = self._resolver.addresses(target.host, deadline)
        for address in addresses:
            check_address(target, address, self._rules)
        return addresses


def _request(
    method: str, target: Target, headers: Mapping[str, str], content: bytes
) -> httpcore.Request:
    """Build a request; headers for routing and framing cannot be overridden."""
    fixed_headers = {"Host": target.authority, "User-Agent": USER_AGENT, "Connection": "close"}
    if method == "POST":
        fixed_headers["Content-Length"] = str(len(content))
    fixed_names = {*map(str.lower, fixed_headers), "content-length", "transfer-encoding"}
    extra = [(name, value) for name, value in headers.items() if name.lower() not in fixed_names]
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    return httpcore.Request(method, url, headers=[*fixed_headers.items(), *extra], content=content)


def _exchange(stream: Stream, request: httpcore.Request) -> httpcore.Response:
    with _hide_protocol_errors(stream):
        response = httpcore.HTTP11Connection(request.url.origin, stream).handle_request(request)
    stream.has_head = True
    return response


@contextmanager
def _hide_protocol_errors(stream: Stream) -> Iterator[None]:
    try:
        yield
    except httpcore.RemoteProtocolError:
        # Its text quotes the response, which a tenant must not read.
        raise TargetFailed("protocol", broke_off=stream.has_ended) from None


@contextmanager
def _unlink_on_failure(file: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _save(response: httpcore.Response, into: Path, max_bytes: int) -> None:
    size_bytes = 0
    with into.open("wb") as file:
        for chunk in response.iter_stream():
            size_bytes += len(chunk)
            if size_bytes > max_bytes:
                raise TargetFailed("too_large")
            file.write(chunk)


def _header(
    response: httpcore.Response, name: bytes, max_characters: int = _MAX_HEADER_CHARACTERS
) -> str | None:
    """Return the first header of that name if it is ASCII and short, else None."""
    value = next((value for key, value in response.headers if key.lower() == name), b"")
    if not value.isascii() or len(value) > max_characters:
        return None
    return value.decode() or None
