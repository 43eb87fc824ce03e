"""The express lane: a plain poll and a plain submit skip the routing and solving of parameters.

That costs more than all that the two routes do, and they are most of what a service is asked.
See docs/decisions/0012-express-lane.md.
"""

from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems
from service.api.auth import context, known_key
from service.api.body.parse import ParsedBody
from service.api.deps import runtime_of
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
    """Works out who asks and what, and calls the route's own function; it stands before all else.

    Whatever is not plain goes the common way before anything has been done: a key that was not
    seen a moment ago, a query, a page in a browser, a header that is there twice, a body that is
    long, not good JSON, or names a picture or film. So this lane refuses nothing by itself, and a
    request is answered alike in both.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes  # more than a body without pictures and films may have

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
            return await get_job(job_id, request, context(request, key))

        await _answer(route, request, receive, send)

    async def _submit(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        headers = dict(scope["headers"])
        key = _plain_key(request) if self._short_json(headers) else None
        if key is None:
            await self.app(scope, receive, send)
            return
        try:
            body = await runtime_of(request).uploads.in_time(_body(receive, headers))
        except (ClientDisconnect, ServiceError) as error:
            await self.app(scope, _broken_off(error), send)
            return
        ask = _plain_ask(body)
        # The body may have taken minutes: a key that was revoked since opens nothing.
        if ask is None or known_key(request) is None:
            await self.app(scope, _again(body, receive), send)
            return

        async def route() -> Response:
            known = context(request, key)
            asked = ParsedBody(ask, UploadArea(known.runtime.uploads, key.id))
            prefer, name = _text(headers, b"prefer"), _text(headers, b"idempotency-key")
            return await generate_video(asked, request, known, prefer, name)

        await _answer(route, request, receive, send)

    def _short_json(self, headers: dict[bytes, bytes]) -> bool:
        if b"transfer-encoding" in headers or b"content-encoding" in headers:
            return False  # then its length says nothing, or it is refused
        size = headers.get(b"content-length", b"")
        short = size.isdigit() and len(size) < 10 and int(size) <= self.max_bytes
        return short and headers.get(b"content-type") == b"application/json"


def _plain_key(request: Request) -> Key | None:
    """The key of a request that is as programs send them, if it was seen a moment ago."""
    names = [name for name, _ in request.scope["headers"]]
    if b"origin" in names or len(set(names)) < len(names):
        return None
    return known_key(request)


def _text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    found = headers.get(name)
    return None if found is None else found.decode("latin-1")


def _plain_ask(body: bytes) -> VideoParams | None:
    """None where it is not good, or names a picture or film."""
    try:
        ask = VideoParams.model_validate_json(body)
    except ValidationError:
        return None
    return None if ask.media_texts else ask


async def _body(receive: Receive, headers: dict[bytes, bytes]) -> bytes:
    """All of it. Raises ClientDisconnect where it breaks off."""
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


def _broken_off(error: Exception) -> Receive:
    """A body that has no more to give than this."""

    async def raised() -> Message:
        raise error

    return raised


async def _answer(
    route: Callable[[], Awaitable[Response]], request: Request, receive: Receive, send: Send
) -> None:
    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await route()
            await response(scope, receive, send)
        except ServiceError as error:  # before anything was sent
            refused = await problems.answer(request, error)
            await refused(scope, receive, send)

    await RequestId(answered)(request.scope, receive, send)


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read is received once more."""
    told = False

    async def replayed() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
