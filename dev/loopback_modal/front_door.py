"""HTTP in front of web Functions: a request becomes an input, data chunks become the response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from modal._serialization import deserialize_data_format, serialize, serialize_data_format
from modal_proto import api_pb2 as pb

from dev.loopback_modal.blobs import Blobs
from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.records import Input, Pool
from dev.loopback_modal.scheduler import definition
from dev.loopback_modal.work import Work

# These belong to one connection, not to the message that it carries.
HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"te", b"trailer"}


class FrontDoor:
    def __init__(self, cloud: Cloud, work: Work, blobs: Blobs) -> None:
        self.cloud = cloud
        self.work = work
        self.blobs = blobs

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        label, path = address(request)
        if any(path.startswith(prefix) for prefix in self.cloud.cut_off) and request.transport:
            request.transport.abort()
            return web.Response(status=502)
        pool = next((p for p in self.cloud.live() if label and label_of(p) == label), None)
        if pool is None:
            return web.Response(status=404, text="modal-http: invalid function call" + self.known())
        config = definition(pool).webhook_config
        if config.requires_proxy_auth and not authorised(request):
            text = "modal-http: missing credentials for proxy authorization"
            return web.Response(status=401, text=text)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return web.Response(status=501, text="the loopback Modal has no WebSocket")
        return await self.exchange(request, pool, path)

    def known(self) -> str:
        """For whoever opens a wrong address: which ones there are."""
        urls = sorted(definition(p).web_url for p in self.cloud.live() if label_of(p))
        return "".join(f"\n{url}" for url in ["", "Web functions here:", *urls]) + "\n"

    async def exchange(self, request: web.Request, pool: Pool, path: str) -> web.StreamResponse:
        message = pb.FunctionInput(
            args=serialize(((scope(request, path),), {})), data_format=pb.DATA_FORMAT_PICKLE
        )
        given = self.work.submit(pool, message, pb.FUNCTION_CALL_INVOCATION_TYPE_SYNC)
        upload = asyncio.create_task(feed(request, given))
        try:
            return await self.respond(request, given)
        finally:  # also when the client hung up
            upload.cancel()
            hear(given, {"type": "http.disconnect"})
            self.work.forget(given)

    async def respond(self, request: web.Request, given: Input) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        async for message in self.messages(given):
            if message["type"] == "http.response.start":
                response = started(message)
                await response.prepare(request)
            elif message["type"] == "http.response.body" and response:
                if request.method != "HEAD":
                    await response.write(message.get("body", b""))
                if not message.get("more_body"):
                    await response.write_eof()
                    return response
        if response and request.transport:  # cut off: the client must not take it for whole
            request.transport.abort()
        said = given.output.result.exception if given.output else ""
        return response or web.Response(status=500, text=f"modal-http: internal error: {said}")

    async def messages(self, given: Input) -> AsyncIterator[dict[str, Any]]:
        """What the app sends, until it is done or its container gave up."""
        index = 0
        while not given.output or index < len(given.said.items):
            if index < len(given.said.items):
                chunk = given.said.items[index]
                index += 1
                data = chunk.data
                if chunk.data_blob_id:
                    data = self.blobs.path(chunk.data_blob_id).read_bytes()
                yield deserialize_data_format(data, chunk.data_format, None)
            else:
                await given.said.notifier.wait()


def address(request: web.Request) -> tuple[str, str]:
    """The label and the path within: of /web/LABEL/PATH, or of http://LABEL.localhost/PATH.

    Where it is neither, there is no label.
    """
    path = request.raw_path.partition("?")[0]
    host = request.host.partition(":")[0]
    if host.endswith(".localhost"):
        return host.removesuffix(".localhost"), unquote(path)
    if not path.startswith("/web/"):
        return "", unquote(path)
    label, _, rest = path.removeprefix("/web/").partition("/")
    return label, unquote("/" + rest)


def label_of(pool: Pool) -> str:
    return definition(pool).web_url.rpartition("/web/")[2]


def authorised(request: web.Request) -> bool:
    keys = "Modal-Key" in request.headers and "Modal-Secret" in request.headers
    return keys or request.headers.get("Authorization", "").startswith("Bearer ")


def scope(request: web.Request, path: str) -> dict[str, Any]:
    """The ASGI scope, with what Modal's own wire format can carry and nothing more."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": path,
        "query_string": request.raw_path.partition("?")[2].encode(),
        "headers": [
            (name.lower(), value)
            for name, value in request.raw_headers
            if name.lower() not in HOP_BY_HOP
        ],
        "client": tuple(peer[:2]) if peer else None,
        "extensions": {"http.response.trailers": {}},
    }


async def feed(request: web.Request, given: Input) -> None:
    """Passes the body on as it comes. The first message goes at once: the app waits 5 s for it."""
    if not request.can_read_body:
        hear(given, {"type": "http.request", "body": b"", "more_body": False})
        return
    hear(given, {"type": "http.request", "body": b"", "more_body": True})
    async for part in request.content.iter_chunked(1 << 20):
        hear(given, {"type": "http.request", "body": part, "more_body": True})
    hear(given, {"type": "http.request", "body": b"", "more_body": False})


def hear(given: Input, message: dict[str, Any]) -> None:
    data = serialize_data_format(message, pb.DATA_FORMAT_ASGI)
    index = len(given.heard.items) + 1
    chunk = pb.DataChunk(data_format=pb.DATA_FORMAT_ASGI, data=data, index=index)
    given.heard.extend([chunk])


def started(message: dict[str, Any]) -> web.StreamResponse:
    response = web.StreamResponse(status=message["status"])
    for name, value in message.get("headers", []):
        if name.lower() not in HOP_BY_HOP:
            response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
    return response
