"""HTTP gateway of web Functions: turns a request into an input, and data chunks into a response."""

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

# Headers of one connection, not of the message.
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
            return web.Response(
                status=404, text="modal-http: invalid function call" + self.addresses()
            )
        config = definition(pool).webhook_config
        if config.requires_proxy_auth and not authorised(request):
            text = "modal-http: missing credentials for proxy authorization"
            return web.Response(status=401, text=text)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return web.Response(status=501, text="the Modal emulator has no WebSocket")
        return await self.exchange(request, pool, path)

    def addresses(self) -> str:
        """List the web addresses, for a 404 page."""
        urls = sorted(definition(p).web_url for p in self.cloud.live() if label_of(p))
        return "".join(f"\n{url}" for url in ["", "Web functions here:", *urls]) + "\n"

    async def exchange(self, request: web.Request, pool: Pool, path: str) -> web.StreamResponse:
        message = pb.FunctionInput(
            args=serialize(((scope(request, path),), {})), data_format=pb.DATA_FORMAT_PICKLE
        )
        call = self.work.submit(pool, message, pb.FUNCTION_CALL_INVOCATION_TYPE_SYNC)
        upload = asyncio.create_task(feed(request, call))
        try:
            return await self.respond(request, call)
        finally:  # also when the client has disconnected
            upload.cancel()
            send_to_app(call, {"type": "http.disconnect"})
            self.work.forget(call)

    async def respond(self, request: web.Request, call: Input) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        async for message in self.messages(call):
            if message["type"] == "http.response.start":
                response = start_response(message)
                await response.prepare(request)
            elif message["type"] == "http.response.body" and response:
                if request.method != "HEAD":
                    await response.write(message.get("body", b""))
                if not message.get("more_body"):
                    await response.write_eof()
                    return response
        if response and request.transport:  # the client must see that it is incomplete
            request.transport.abort()
        error = call.output.result.exception if call.output else ""
        return response or web.Response(status=500, text=f"modal-http: internal error: {error}")

    async def messages(self, call: Input) -> AsyncIterator[dict[str, Any]]:
        """Iterate over the app's messages, until it is done or its container failed."""
        index = 0
        while not call.output or index < len(call.chunks_out.items):
            if index < len(call.chunks_out.items):
                chunk = call.chunks_out.items[index]
                index += 1
                data = chunk.data
                if chunk.data_blob_id:
                    data = self.blobs.path(chunk.data_blob_id).read_bytes()
                yield deserialize_data_format(data, chunk.data_format, None)
            else:
                await call.chunks_out.notifier.wait()


def address(request: web.Request) -> tuple[str, str]:
    """Return label and path of /web/LABEL/PATH or http://LABEL.localhost/PATH; else an empty
    label."""
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
    """Build the ASGI scope, limited to what Modal's wire format can carry."""
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


async def feed(request: web.Request, call: Input) -> None:
    """Forward the body as it comes. The first message is sent at once: the app waits 5 s for it."""
    if not request.can_read_body:
        send_to_app(call, {"type": "http.request", "body": b"", "more_body": False})
        return
    send_to_app(call, {"type": "http.request", "body": b"", "more_body": True})
    async for part in request.content.iter_chunked(1 << 20):
        send_to_app(call, {"type": "http.request", "body": part, "more_body": True})
    send_to_app(call, {"type": "http.request", "body": b"", "more_body": False})


def send_to_app(call: Input, message: dict[str, Any]) -> None:
    data = serialize_data_format(message, pb.DATA_FORMAT_ASGI)
    index = len(call.chunks_in.items) + 1
    chunk = pb.DataChunk(data_format=pb.DATA_FORMAT_ASGI, data=data, index=index)
    call.chunks_in.extend([chunk])


def start_response(message: dict[str, Any]) -> web.StreamResponse:
    response = web.StreamResponse(status=message["status"])
    for name, value in message.get("headers", []):
        if name.lower() not in HOP_BY_HOP:
            response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
    return response
