"""A video inside a JSON answer: read from its file and encoded bit by bit, as it is sent."""

import asyncio
import base64
import json
import os
from typing import BinaryIO

from fastapi import Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.api.schemas.jobs import duration_ms, generation_time_ms
from service.domain.errors import NotFound, RateLimited
from service.domain.job import Job
from service.runtime.runtime import Runtime

_BLOCK_BYTES = 49_152  # a multiple of 3: only the last block is padded


class InlineAnswer(Response):
    """An `InlineVideo`, which takes the same memory however large it is and however slowly it is
    read. Of one key a few are sent at a time, each for `max_seconds` at most."""

    media_type = "application/json"

    def __init__(
        self, runtime: Runtime, job: Job, instead: Response, max_seconds: float = 600.0
    ) -> None:
        """`instead` is sent where all of the key's shares stay taken: the job is made, and a
        refusal would invite its client to ask for another."""
        super().__init__()
        del self.headers["content-length"]
        self._parts = runtime
        self._job = job
        self._instead = instead
        self._max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises NotFound before anything is sent."""
        try:
            await self._send_within_share(send)
        except RateLimited:
            self._instead.headers.update(
                {name: text for name, text in self.headers.items() if name != "content-type"}
            )
            await self._instead(scope, receive, send)

    async def _send_within_share(self, send: Send) -> None:
        async with self._parts.inline_slots.hold(self._job.key_id):
            file = await run_in_threadpool(self._open)
            try:
                async with asyncio.timeout(self._max_seconds):
                    await self._send(file, send)
            except TimeoutError:
                raise ClientDisconnect from None  # it has taken its share for long enough
            finally:
                await run_in_threadpool(file.close)

    def _open(self) -> BinaryIO:
        assert self._job.result is not None, "only a success has a video"
        path = self._parts.artifacts.path(self._job.result.video.key)
        try:
            if path is not None:
                return path.open("rb")
        except FileNotFoundError:
            pass  # deleted at this very moment
        raise NotFound(f"the bytes of job {self._job.id} are gone")

    async def _send(self, file: BinaryIO, send: Send) -> None:
        before, after = self._frame()
        encoded_bytes = (os.fstat(file.fileno()).st_size + 2) // 3 * 4
        self.headers["content-length"] = str(len(before) + encoded_bytes + len(after))
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": before, "more_body": True})
        while block := await run_in_threadpool(file.read, _BLOCK_BYTES):
            encoded = base64.b64encode(block)
            await send({"type": "http.response.body", "body": encoded, "more_body": True})
        await send({"type": "http.response.body", "body": after})

    def _frame(self) -> tuple[bytes, bytes]:
        """What stands before and behind the video."""
        rest = {
            "duration_ms": duration_ms(self._job),
            "generation_time_ms": generation_time_ms(self._job) or 0,
        }
        return b'{"video":"', b'",' + json.dumps(rest, separators=(",", ":")).encode()[1:]
