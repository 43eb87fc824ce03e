"""One key's slow readers and its many lists hold up nobody else."""

import asyncio
import base64
import json
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import pytest
from httpx2 import Response
from starlette.requests import ClientDisconnect
from starlette.responses import Response as PlainResponse

from service.api.inline_video import InlineVideoResponse
from service.domain.errors import RateLimited
from service.domain.ids import JobId, KeyId
from service.domain.job import Scope
from service.runtime.key_slots import KeySlots
from tests.api.world import KEY, World

ONE, OTHER = KeyId("one"), KeyId("other")
ASK = {"prompt": "x", "response_format": "b64_json"}
CONTENT = os.urandom(1_000_001)
NAMED = {"Idempotency-Key": "one", "Prefer": "wait=30"}


def test_a_key_waits_for_its_own_turn_and_another_does_not() -> None:
    async def run() -> list[str]:
        shares, told = KeySlots("lists", max_at_once=2, max_seconds=20), []
        first = AsyncExitStack()
        await first.enter_async_context(shares.hold(ONE))
        await first.enter_async_context(shares.hold(ONE))

        async def wait() -> None:
            async with shares.hold(ONE):
                told.append("third")

        third = asyncio.create_task(wait())
        await asyncio.sleep(0)
        async with shares.hold(OTHER):
            told.append("other")
        await first.aclose()
        await third
        return told

    assert asyncio.run(run()) == ["other", "third"]


def test_a_turn_that_does_not_come_is_a_429_and_leaves_the_places_as_they_are() -> None:
    async def run() -> None:
        shares = KeySlots("lists", max_at_once=1, max_seconds=0)
        async with shares.hold(ONE):
            with pytest.raises(RateLimited, match="1 concurrent lists"):
                async with shares.hold(ONE):
                    pass
        async with shares.hold(ONE):
            pass

    asyncio.run(run())


@contextmanager
def all_taken(world: World, shares: KeySlots) -> Iterator[None]:
    """All places of the first key are held, and nobody waits for one."""
    held, shares._max_seconds = AsyncExitStack(), 0
    key_id = world.client.get("/v1/keys").json()["data"][0]["id"]

    async def take() -> None:
        for _ in range(shares._max_at_once):
            await held.enter_async_context(shares.hold(key_id))

    assert world.client.portal is not None
    world.client.portal.call(take)
    yield
    world.client.portal.call(held.aclose)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/webhook-deliveries"])
def test_lists_of_one_key_leave_the_lists_of_another_alone(world: World, path: str) -> None:
    other = {"Authorization": f"Bearer {world.other_key()}"}
    with all_taken(world, world.runtime.throttles.lists):
        refused = world.client.get(path)
        served = world.client.get(path, headers=other)

    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == "5"
    assert (served.status_code, world.client.get(path).status_code) == (200, 200)


def finished(world: World) -> None:
    world.client.post("/generate-video", json=ASK, headers={"Idempotency-Key": "one"})
    world.finish(CONTENT)


def again(world: World, query: str = "") -> Response:
    """The same request once its job is final: answered with the video at once."""
    return world.client.post(f"/generate-video{query}", json=ASK, headers=NAMED)


@pytest.mark.parametrize("query", ["", "?&"], ids=["express", "common"])
def test_beyond_a_keys_share_of_inline_videos_the_job_is_answered(world: World, query: str) -> None:
    """A refusal would invite its client to have another video made."""
    finished(world)
    with all_taken(world, world.runtime.throttles.inline_videos):
        answer = again(world, query)

    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer.json()["result"]["video_url"]
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert answer.headers["Location"].endswith(answer.json()["id"])


def sent(world: World, query: bytes = b"") -> list[dict[str, Any]]:
    """The messages in which the service answers `again`."""
    body, messages = json.dumps(ASK).encode(), []
    headers = {
        "host": "rushes.test",
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "idempotency-key": "one",
        "prefer": "wait=30",
    }
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": "/generate-video", "raw_path": b"/generate-video",
        "root_path": "", "query_string": query, "client": ("127.0.0.1", 1), "state": {},
        "server": ("rushes.test", 80),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    assert world.client.portal is not None
    world.client.portal.call(world.client.app, scope, receive, send)  # type: ignore[call-arg, arg-type]
    return messages


@pytest.mark.parametrize("query", [b"", b"&"], ids=["express", "common"])
def test_an_inline_video_is_sent_piece_by_piece(world: World, query: bytes) -> None:
    finished(world)

    start, *pieces = sent(world, query)

    whole = b"".join(piece.get("body", b"") for piece in pieces)
    headers = dict(start["headers"])
    assert base64.b64decode(json.loads(whole)["video"]) == CONTENT
    assert int(headers[b"content-length"]) == len(whole)
    assert (headers[b"content-type"], b"location" in headers) == (b"application/json", True)
    assert max(len(piece.get("body", b"")) for piece in pieces) <= 65_536


def test_a_reader_that_takes_nothing_for_too_long_gives_its_share_back(world: World) -> None:
    finished(world)
    (key,) = world.client.get("/v1/keys").json()["data"]
    (told,) = world.client.get("/v1/jobs").json()["data"]

    async def take_nothing(message: Any) -> None:
        await asyncio.get_running_loop().create_future()

    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing more is read of the request")

    async def run() -> None:
        job = await world.runtime.find_job(JobId(told["id"]), Scope(KeyId(key["id"])))
        answer = InlineVideoResponse(world.runtime, job, PlainResponse(), max_seconds=0)
        sending = asyncio.ensure_future(answer({"type": "http"}, receive, take_nothing))
        done, _ = await asyncio.wait([sending], timeout=20)
        sending.cancel()
        assert done, "it is still being sent"
        with pytest.raises(ClientDisconnect):
            await sending

    assert world.client.portal is not None
    world.client.portal.call(run)
    assert "video" in again(world).json()


def test_a_video_that_is_gone_cannot_be_sent_inline(world: World) -> None:
    finished(world)
    (job,) = world.client.get("/v1/jobs").json()["data"]
    world.runtime.artifacts.delete(f"jobs/{job['id']}")

    answer = again(world)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
