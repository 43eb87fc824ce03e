"""Stream a video inside a JSON response, base64-encoded block by block."""

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


class InlineVideoResponse(Response):
    """An `InlineVideo`, in constant memory. A key has a few slots, each for `max_seconds`."""

    media_type = "application/json"

    def __init__(
        self, runtime: Runtime, job: Job, fallback: Response, max_seconds: float = 600.0
    ) -> None:
        """`fallback` is sent where no slot of the key becomes free: the job is done, and an error
        would invite its client to submit another."""
        super().__init__()
        del self.headers["content-length"]
        self._runtime = runtime
        self._job = job
        self._fallback = fallback
        self._max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises NotFound before anything is sent."""
        try:
            await self._send_within_slot(send)
        except RateLimited:
            self._fallback.headers.update(
                {name: text for name, text in self.headers.items() if name != "content-type"}
            )
            await self._fallback(scope, receive, send)

    async def _send_within_slot(self, send: Send) -> None:
        async with self._runtime.throttles.inline_videos.hold(self._job.key_id):
            file = await run_in_threadpool(self._open)
            try:
                async with asyncio.timeout(self._max_seconds):
                    await self._send(file, send)
            except TimeoutError:
                raise ClientDisconnect from None  # the slot is needed by others
            finally:
                await run_in_threadpool(file.close)

    def _open(self) -> BinaryIO:
        assert self._job.result is not None, "only a success has a video"
        path = self._runtime.artifacts.path(self._job.result.video.key)
        try:
            if path is not None:
                return path.open("rb")
        except FileNotFoundError:
            pass  # deleted just now
        raise NotFound(f"the video of job {self._job.id} was deleted")

    async def _send(self, file: BinaryIO, send: Send) -> None:
        before, after = self._envelope()
        num_encoded = (os.fstat(file.fileno()).st_size + 2) // 3 * 4
        self.headers["content-length"] = str(len(before) + num_encoded + len(after))
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": before, "more_body": True})
        while block := await run_in_threadpool(file.read, _BLOCK_BYTES):
            text = base64.b64encode(block)
            await send({"type": "http.response.body", "body": text, "more_body": True})
        await send({"type": "http.response.body", "body": after})

    def _envelope(self) -> tuple[bytes, bytes]:
        """Return the JSON before and after the video."""
        rest: dict[str, float | None] = {
            "duration_ms": duration_ms(self._job),
            "generation_time_ms": generation_time_ms(self._job) or 0,
        }
        result = self._job.result
        if self._job.request.kind == "avatar" and result is not None:
            rest["lip_sync_score"] = None if result.lip_sync is None else result.lip_sync.score
        return b'{"video":"', b'",' + json.dumps(rest, separators=(",", ":")).encode()[1:]
