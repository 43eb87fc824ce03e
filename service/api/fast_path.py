"""Fast path: a plain poll or submit skips routing and dependency injection.

Those cost more than the two routes themselves, which take most of the traffic.
See docs/decisions/0012-fast-path.md.
"""

from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems
from service.api.body.parse import ParsedBody
from service.api.deps import RequestContext, bearer, find_cached_key, make_context, runtime_of
from service.api.middleware import RequestId
from service.api.routes.generate import generate_video
from service.api.routes.jobs import get_job
from service.domain import ids
from service.domain.errors import ServiceError
from service.domain.key import Key
from service.domain.request import VideoParams
from service.runtime.uploads import UploadArea

_JOB = "/v1/jobs/"
_SUBMIT = "/generate-video"


class FastPath:
    """ASGI middleware, the outermost: call the route's own function for a plain request.

    All else takes the common way before anything was done: a key that is not in the cache, a query,
    a browser's Origin, a repeated header, a body that is long, invalid, or names an image or video.
    So the fast path refuses nothing by itself, and both ways answer alike, but for the headers of
    CORS, which only a browser with an Origin needs.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes  # of a body; larger ones take the common way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["query_string"]:
            method, path = scope["method"], scope["path"]
            if method == "GET" and path.startswith(_JOB) and ids.is_id("job", path[len(_JOB) :]):
                await self._poll(path[len(_JOB) :], scope, receive, send)
                return
            if method == "POST" and path == _SUBMIT:
                await self._submit(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _poll(self, job_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        key = _plain_key(request)
        if key is None:
            await self.app(scope, receive, send)
            return

        async def route() -> Response:
            return await get_job(job_id, request, _context(request, key))

        await _respond(route, request, receive, send)

    async def _submit(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        headers = dict(scope["headers"])
        key = _plain_key(request) if self._short_json(headers) else None
        if key is None:
            await self.app(scope, receive, send)
            return
        try:
            body = await runtime_of(request).uploads.with_timeout(_body(receive, headers))
        except (ClientDisconnect, ServiceError) as error:
            await self.app(scope, _failing_receive(error), send)
            return
        params = _plain_params(body)
        # The body may have taken minutes: the key may be revoked by now.
        if params is None or find_cached_key(request) is None:
            await self.app(scope, _replay(body, receive), send)
            return

        async def route() -> Response:
            context = _context(request, key)
            parsed_body = ParsedBody(params, UploadArea(context.runtime.uploads, key.id))
            prefer, name = _header(headers, b"prefer"), _header(headers, b"idempotency-key")
            return await generate_video(parsed_body, request, context, prefer, name)

        await _respond(route, request, receive, send)

    def _short_json(self, headers: dict[bytes, bytes]) -> bool:
        if b"transfer-encoding" in headers or b"content-encoding" in headers:
            return False  # its length is unknown, or the coding is refused
        size = headers.get(b"content-length", b"")
        short = size.isdigit() and len(size) < 10 and int(size) <= self.max_bytes
        return short and headers.get(b"content-type") == b"application/json"


def _plain_key(request: Request) -> Key | None:
    """Return the cached key of a request without Origin and repeated headers."""
    names = [name for name, _ in request.scope["headers"]]
    if b"origin" in names or len(set(names)) < len(names):
        return None
    return find_cached_key(request)


def _context(request: Request, key: Key) -> RequestContext:
    return make_context(request, key, bearer(request) or "")


def _header(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def _plain_params(body: bytes) -> VideoParams | None:
    """Return None for an invalid body, and for one that names an image or video."""
    try:
        params = VideoParams.model_validate_json(body)
    except ValidationError:
        return None
    return None if params.media_texts else params


async def _body(receive: Receive, headers: dict[bytes, bytes]) -> bytes:
    """Receive the whole body. Raises ClientDisconnect for an incomplete one."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            body = b"".join(pieces)
            if len(body) != int(headers[b"content-length"]):
                raise ClientDisconnect
            return body


def _failing_receive(error: Exception) -> Receive:
    """Return a `receive` that raises `error`."""

    async def fail() -> Message:
        raise error

    return fail


async def _respond(
    route: Callable[[], Awaitable[Response]], request: Request, receive: Receive, send: Send
) -> None:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await route()
            await response(scope, receive, send)
        except ServiceError as error:  # before anything was sent
            response = problems.to_response(request, error)
            await response(scope, receive, send)

    await RequestId(respond)(request.scope, receive, send)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields the body, which was read before, once more."""
    is_replayed = False

    async def receive_again() -> Message:
        nonlocal is_replayed
        if is_replayed:
            return await receive()
        is_replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
