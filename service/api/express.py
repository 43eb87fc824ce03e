"""The express lane: a plain poll and a plain submit skip the routing and solving of parameters.

That costs more than all that the two routes do, and they are most of what a service is asked.
See docs/decisions/0012-express-lane.md.
"""

from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems
from service.api.asked import Asked
from service.api.auth import known_key, visit
from service.api.incoming import Desk
from service.api.routes.generate import generate_video
from service.api.routes.jobs import get_job
from service.domain import ids
from service.domain.errors import ServiceError
from service.domain.media import NEEDS
from service.domain.request import VideoAsk

_JOB = "/v1/jobs/"
_SUBMIT = "/generate-video"


class Express:
    """Works out who asks and what, and calls the route's own function.

    Whatever is not plain goes the common way before anything has been done: a key that was not
    seen a moment ago, a query, a body that is long, not good JSON, or names a picture or film. So
    this lane refuses nothing by itself, and a request is answered alike in both.
    """

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self.app = app
        self.most_bytes = most_bytes  # more than a body without pictures and films may have

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
        key = known_key(request)
        if key is None:
            await self.app(scope, receive, send)
            return

        async def route() -> Response:
            return await get_job(job_id, request, visit(request, key))

        await _answer(route, request, send)

    async def _submit(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        headers = request.headers
        key = known_key(request)
        if (
            key is None
            or headers.get("content-type") != "application/json"
            or not self._plain(headers)
        ):
            await self.app(scope, receive, send)
            return
        body = await request.body()
        try:
            ask = VideoAsk.model_validate_json(body)
        except ValidationError:
            ask = None
        if ask is None or any(getattr(ask, role) is not None for role in NEEDS):
            await self.app(scope, _again(body, receive), send)
            return

        async def route() -> Response:
            known = visit(request, key)
            plain = Asked(ask, Desk(known.parts.incoming, key.id))
            prefer, name = headers.get("prefer"), headers.get("idempotency-key")
            return await generate_video(plain, request, known, prefer, name)

        await _answer(route, request, send)

    def _plain(self, headers: Headers) -> bool:
        size = headers.get("content-length", "")
        short = size.isdecimal() and int(size) <= self.most_bytes
        return short and headers.get("content-type") == "application/json"


async def _answer(route: Callable[[], Awaitable[Response]], request: Request, send: Send) -> None:
    try:
        response = await route()
    except ServiceError as error:
        response = await problems.answer(request, error)
    await response(request.scope, request.receive, send)


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
