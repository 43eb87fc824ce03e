"""What every request goes through: it gets an id, and its body has a limit."""

import asyncio
import random
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import unplanned
from service.log import Log, during

log = Log("rushes.access")

_MEDIA = re.compile(r"/generate-video|/v1/estimate|/v1/jobs/[^/]+/retry")
# Of an ordinary body. Most routes read it before they look at the key; those that take images and
# videos look first, and give the body longer.
_BODY_SECONDS = 30.0
_SOUND = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestId:
    """Takes a sound `X-Request-Id` over and makes one else; faults are logged by it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SOUND.fullmatch(given) else _new_id()
        scope["request_id"] = request_id
        arrived = time.perf_counter()

        began = False

        async def send_with_id(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                ]
                log.debug(
                    "request answered",
                    method=scope["method"],
                    path=scope["path"],  # without the query: it may hold a signature
                    status=message["status"],
                    duration_ms=round((time.perf_counter() - arrived) * 1000, 1),
                )
            await send(message)

        with during(request_id):
            try:
                await self.app(scope, receive, send_with_id)
            except ClientDisconnect:
                # In the middle of its body: nothing was done, and nobody waits for an answer.
                log.info("client hung up", method=scope["method"], path=scope["path"])
            except Exception as fault:
                log.error("request failed", fault, method=scope["method"], path=scope["path"])
                if began:
                    raise  # too late for another answer: the server cuts the connection
                await unplanned(request_id)(scope, receive, send_with_id)


def _new_id() -> str:
    """No secret: asking the system for one would cost more than the rest of this file."""
    return f"req_{random.getrandbits(96):024x}"


_CONTENT = re.compile(r"/v1/jobs/[^/]+/content")


class Head:
    """Answers HEAD as GET, without the body; content has a way of its own, which reads nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or _CONTENT.match(scope["path"]):
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app({**scope, "method": "GET"}, receive, send_head)


class Cors(CORSMiddleware):
    """Where every origin may call, every answer says so, to whoever asks: what a player has put
    into the browser's cache must do for a script as well, which a `Vary: Origin` would prevent."""

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        if not self.allow_all_origins:
            await super().send(message, send, request_headers)
            return
        if message["type"] == "http.response.start":
            message.setdefault("headers", [])
            MutableHeaders(scope=message).update(self.simple_headers)
        await send(message)


def _unsupported(coding: str) -> HTTPException:
    detail = f"`Content-Encoding: {coding[:32]}` is not taken: send the body as it is"
    return HTTPException(415, detail, headers={"Accept-Encoding": "identity"})


class BodyLimit:
    """Refuses a body that is compressed, ends the reading of one, declared or in chunks, that is
    larger than `most` bytes, or than `max_media` on the routes that take images and videos, and on
    all others of one that drips.

    Raised where the route reads, so that the answer is a problem like any other.
    """

    def __init__(
        self, app: ASGIApp, most: int, max_media: int, seconds: float = _BODY_SECONDS
    ) -> None:
        self.app = app
        self.most = most
        self.max_media = max_media
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        most = self.max_media
        if not _MEDIA.fullmatch(scope["path"]):
            most, receive = self.most, _in_time(receive, self.seconds)
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        seen = int(declared) if declared.isdecimal() else 0
        whole = seen if "transfer-encoding" not in headers else 0
        too_large = HTTPException(413)
        coding = headers.get("content-encoding", "identity").strip().lower()
        counted = 0

        async def limited() -> Message:
            nonlocal counted
            if coding != "identity":
                raise _unsupported(coding)
            if seen > most:
                raise too_large
            message = await receive()
            counted += len(message.get("body", b""))
            if counted > most:
                raise too_large
            over = message["type"] == "http.request" and not message.get("more_body", False)
            if over and counted < whole:
                raise ClientDisconnect  # the rest is not to come: half an ask is none
            return message

        await self.app(scope, limited, send)


def _in_time(receive: Receive, seconds: float) -> Receive:
    """Receive a body that is whole in so many seconds; what comes behind it may take longer."""
    deadline = asyncio.get_running_loop().time() + seconds
    is_whole = False

    async def received() -> Message:
        nonlocal is_whole
        if is_whole:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408) from None
        is_whole = not message.get("more_body", False)
        return message

    return received
