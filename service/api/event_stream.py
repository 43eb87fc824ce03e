"""Stream events as `text/event-stream`, until the client leaves, or the time is over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from service.api.webhook_body import WebhookBodies, event_body
from service.domain.errors import RateLimited, Unavailable
from service.domain.ids import EventId, JobId, KeyId
from service.domain.job import Job
from service.runtime.event_subscription import Message as EventMessage
from service.runtime.event_subscription import Subscription
from service.runtime.runtime import Runtime

_COMMENT_SECONDS = 15.0  # a proxy takes a connection that is silent for longer for dead
_RETRY = format_sse_event(retry=1_000)
_FULL_RETRY_SECONDS = 10
_CHANGE = format_sse_event(event="change", data_str="{}")

# No cache and no proxy may keep events back.
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(frozen=True)
class EventBlocks:
    """Renders events as blocks of a stream; their data is the body of a webhook."""

    bodies: WebhookBodies

    def data(self, job: Job) -> dict[str, Any]:
        return self.bodies.data(job)

    def block(
        self, kind: str, at: datetime, data: dict[str, Any], event_id: EventId | None
    ) -> bytes:
        body = event_body(kind, at, data).decode()
        return format_sse_event(event=kind, data_str=body, id=_text(event_id))

    def position(self, event_id: EventId) -> bytes:
        return format_sse_event(id=_text(event_id))


def _text(event_id: EventId | None) -> str | None:
    return None if event_id is None else str(event_id)


class EventStream(StreamingResponse):
    """The events of a key's jobs, or of one job, behind a position; None begins at now.

    A client that takes nothing of a block for `write_seconds` is disconnected. The stream holds a
    slot of `viewer`, the key that asked for it: by default `key_id`. It ends when that is revoked.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        runtime: Runtime,
        key_id: KeyId,
        job_id: JobId | None,
        position: EventId | None,
        write_seconds: float = 30.0,
        *,
        viewer: KeyId | None = None,
    ) -> None:
        super().__init__((), headers=STREAM_HEADERS)
        self._runtime = runtime
        self._key_id = key_id
        self._viewer = viewer or key_id
        self._job_id = job_id
        self._position = position
        self._write_seconds = write_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises RateLimited or Unavailable before anything is sent."""
        runtime = self._runtime
        with runtime.throttles.streams.hold(self._viewer) as has_slot:
            if not has_slot:
                raise RateLimited(
                    "too many event streams are open; close one, or follow all jobs by one",
                    retry_after_seconds=_FULL_RETRY_SECONDS,
                )
            subscribe = runtime.event_feed.subscribe(
                self._key_id, self._job_id, self._position, self._viewer
            )
            async with subscribe as subscription:
                self.body_iterator = self._blocks(subscription)
                await super().__call__(scope, receive, self._in_time(send))

    async def _blocks(self, subscription: Subscription) -> AsyncIterator[bytes]:
        yield _RETRY
        messages = self._runtime.event_feed.follow(
            subscription,
            seconds=self._runtime.limits.max_stream.total_seconds(),
            idle_seconds=_COMMENT_SECONDS,
        )
        with suppress(Unavailable):  # the client asks again, and is told so if it lasts
            async for message in messages:
                yield KEEPALIVE_COMMENT if message is None else self._render(message)
        yield _RETRY

    def _render(self, message: EventMessage) -> bytes:
        return message.block

    def _in_time(self, send: Send) -> Send:
        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._write_seconds):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        return send_in_time


class ChangeStream(EventStream):
    """Says that the job has changed, and nothing of it: for a page, which then asks for it by its
    session, however long this stream stays open."""

    def _render(self, message: EventMessage) -> bytes:
        return KEEPALIVE_COMMENT if message.job_id is None else _CHANGE
