"""Imported by the shop in its containers: it must be in the image."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any


def wrap(name: str) -> str:
    return f"[{name}]"


def site() -> Any:
    import modal
    from fastapi import FastAPI

    site = FastAPI()

    @site.post("/spawn/{name}")
    async def spawn(name: str) -> dict[str, str]:
        maker = modal.Cls.from_name("shop", "Maker")()
        call = await maker.make.spawn.aio(name)
        return {"call": call.object_id}

    add_echoes(site)
    add_drip(site)
    return site


def add_echoes(site: Any) -> None:
    """What the app is sent, and files of its own."""
    from fastapi import Request
    from fastapi.responses import FileResponse, StreamingResponse

    @site.get("/headers")
    async def headers(request: Request) -> dict[str, Any]:
        return {"headers": dict(request.headers), "path": request.url.path, "q": request.url.query}

    @site.post("/mirror")
    async def mirror(request: Request) -> StreamingResponse:
        # Modal's scope names no ASGI version, so Starlette listens for a disconnect while it
        # streams a response, and would swallow what is left of the request.
        received = [part async for part in request.stream()]

        async def parts() -> AsyncIterator[bytes]:
            for part in received:
                yield part.upper()

        return StreamingResponse(parts())

    @site.api_route("/self", methods=["GET", "HEAD"])
    def own_source() -> FileResponse:
        return FileResponse(__file__, media_type="text/x-python")


def add_drip(site: Any) -> None:
    """A response without an end, and who hung up on it."""
    from fastapi.responses import StreamingResponse

    left: list[str] = []

    @site.get("/drip")
    async def drip() -> StreamingResponse:
        async def drops() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"drop"
                    await asyncio.sleep(0.01)
            finally:
                left.append("drip")

        return StreamingResponse(drops())

    @site.get("/left")
    async def who_left() -> list[str]:
        return left
