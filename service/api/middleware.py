"""What every request goes through: it gets an id, and its body has a limit."""

import random
import re
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import unplanned
from service.log import Log, during

log = Log("rushes.access")

_MEDIA = re.compile(r"/generate-video|/v1/estimate|/v1/jobs/[^/]+/retry")
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


class BodyLimit:
    """Ends the reading of a body, declared or in chunks, that is larger than `most` bytes, or than
    `most_media` on the routes that take pictures and films.

    Raised where the route reads, so that the answer is a problem like any other.
    """

    def __init__(self, app: ASGIApp, most: int, most_media: int) -> None:
        self.app = app
        self.most = most
        self.most_media = most_media

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        most = self.most_media if _MEDIA.fullmatch(scope["path"]) else self.most
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        seen = int(declared) if declared.isdecimal() else 0
        whole = seen if "transfer-encoding" not in headers else 0
        too_large = HTTPException(413)
        counted = 0

        async def limited() -> Message:
            nonlocal counted
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
