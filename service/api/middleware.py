"""ASGI middleware: request ids, HEAD, CORS and the limits of bodies."""

import asyncio
import logging
import random
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import internal_error
from service.log import request_context

log = logging.getLogger(__name__)

_MEDIA = re.compile(
    r"/generate-(?:video|avatar)|/v1/(?:estimate|avatars|voices|jobs/[^/]+/retry)"
    r"|/admin/(?:new/[a-z]+|jobs/[^/]+/retry)(?:/estimate)?"
)
# For ordinary bodies, which are read before the key is checked. Routes that take inputs
# check the key first and allow more time.
_BODY_SECONDS = 30.0
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestId:
    """Adopt a valid `X-Request-Id` or generate one; log unhandled errors with it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        header = Headers(scope=scope).get("x-request-id", "")
        request_id = header if _VALID_ID.fullmatch(header) else _new_id()
        scope["request_id"] = request_id
        started_at = time.perf_counter()

        has_started = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                ]
                log.debug(
                    "request answered",
                    extra={
                        "method": scope["method"],
                        "path": scope["path"],  # without the query: it may hold a signature
                        "status": message["status"],
                        "duration_ms": round((time.perf_counter() - started_at) * 1000, 1),
                    },
                )
            await send(message)

        with request_context(request_id):
            try:
                await self.app(scope, receive, send_with_id)
            except ClientDisconnect:
                # Within its body: nothing was done, and nobody waits for a response.
                log.info(
                    "client disconnected", extra={"method": scope["method"], "path": scope["path"]}
                )
            except Exception as fault:
                log.error(
                    "request failed",
                    exc_info=fault,
                    extra={"method": scope["method"], "path": scope["path"]},
                )
                if has_started:
                    raise  # too late for a response: the server closes the connection
                await internal_error(request_id)(scope, receive, send_with_id)


def _new_id() -> str:
    """Return a random id, not a secret: the system's generator would cost more."""
    return f"req_{random.getrandbits(96):024x}"


_OWN_HEAD = re.compile(r"/v1/(?:jobs/[^/]+/(?:content|events)|events)")


class Head:
    """Answer HEAD as GET without the body; some routes handle HEAD themselves."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        if not is_head or _OWN_HEAD.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app({**scope, "method": "GET"}, receive, send_head)


class Cors(CORSMiddleware):
    """Send `*` on every response where all origins are allowed, without `Vary: Origin`: a script
    may then use what a player has put into the browser's cache."""

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        if not self.allow_all_origins:
            await super().send(message, send, request_headers)
            return
        if message["type"] == "http.response.start":
            message.setdefault("headers", [])
            MutableHeaders(scope=message).update(self.simple_headers)
        await send(message)


def _unsupported(coding: str) -> HTTPException:
    detail = f"`Content-Encoding: {coding[:32]}` is not supported: send it uncompressed"
    return HTTPException(415, detail, headers={"Accept-Encoding": "identity"})


class BodyLimit:
    """Refuse a body that is compressed, or larger than `max_bytes` (`max_media` on the routes that
    take inputs), or on all other routes slower than `seconds`.

    Raised where the route reads the body, so that the response is an ordinary problem.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, max_media: int, seconds: float = _BODY_SECONDS
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.max_media = max_media
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        max_bytes = self.max_media
        if not _MEDIA.fullmatch(scope["path"]):
            max_bytes, receive = self.max_bytes, _with_timeout(receive, self.seconds)
        headers = Headers(scope=scope)
        content_length = headers.get("content-length", "")
        num_declared = int(content_length) if content_length.isdecimal() else 0
        num_expected = num_declared if "transfer-encoding" not in headers else 0
        too_large = HTTPException(413)
        coding = headers.get("content-encoding", "identity").strip().lower()
        num_received = 0

        async def receive_limited() -> Message:
            nonlocal num_received
            if coding != "identity":
                raise _unsupported(coding)
            if num_declared > max_bytes:
                raise too_large
            message = await receive()
            num_received += len(message.get("body", b""))
            if num_received > max_bytes:
                raise too_large
            is_complete = message["type"] == "http.request" and not message.get("more_body", False)
            if is_complete and num_received < num_expected:
                raise ClientDisconnect  # the body is truncated
            return message

        await self.app(scope, receive_limited, send)


def _with_timeout(receive: Receive, seconds: float) -> Receive:
    """Limit the time until the body is complete; later messages may take longer."""
    deadline = asyncio.get_running_loop().time() + seconds
    is_complete = False

    async def receive_in_time() -> Message:
        nonlocal is_complete
        if is_complete:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408) from None
        is_complete = not message.get("more_body", False)
        return message

    return receive_in_time
