"""Stream large request bodies to disk."""

from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from service.runtime.uploads import UploadArea

_BLOCK = 1 << 18


async def blocks(request: Request) -> AsyncIterator[bytes]:
    """Yield the body in blocks large enough to be worth a hop to a thread."""
    block = bytearray()
    async for piece in request.stream():
        block += piece
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


async def receive(request: Request, area: UploadArea, max_in_memory: int) -> bytes | Path:
    """Receive the body: in memory up to `max_in_memory` bytes, else in a file."""
    head = bytearray()
    stream = request.stream()
    async for piece in stream:
        head += piece
        if len(head) > max_in_memory:
            break
    else:
        return bytes(head)
    path = area.file("body")
    with path.open("wb") as file:
        file.write(head)
        head.clear()
        async for piece in stream:
            head += piece
            if len(head) >= _BLOCK:
                await run_in_threadpool(file.write, bytes(head))
                head.clear()
        file.write(head)
    return path
