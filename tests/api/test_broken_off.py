"""A body that breaks off, drips or is outlived by its key makes no job, in either lane; and whoever
hung up is not waited for."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.middleware import BodyLimit
from service.app import build
from service.settings import Settings
from tests.api.world import KEY, World

BODY = json.dumps({"prompt": "a red ball"}).encode()
LANES = pytest.mark.parametrize("query", [b"", b"&"], ids=["express", "common"])

Step = dict[str, Any] | Callable[[], Awaitable[dict[str, Any]]]


def piece(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


def send(
    world: World,
    query: bytes,
    steps: Iterable[Step],
    *,
    key: str = KEY,
    method: str = "POST",
    path: str = "/generate-video",
    **headers: str,
) -> tuple[int, dict[str, Any]] | None:
    """What a submit is answered whose body comes in by `steps`; None where nothing is answered."""
    world.client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"})  # the key is known
    told: list[dict[str, Any]] = []
    left = iter(steps)

    async def receive() -> dict[str, Any]:
        step = next(left, GONE)
        return step if isinstance(step, dict) else await step()

    async def answered(message: dict[str, Any]) -> None:
        told.append(message)

    named = {
        "host": "rushes.test",
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        **headers,
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "client": ("127.0.0.1", 1),
        "server": ("rushes.test", 80),
        "state": {},
    }
    assert world.client.portal is not None
    world.client.portal.call(world.client.app, scope, receive, answered)  # type: ignore[arg-type]
    if not told:
        return None
    body = b"".join(message.get("body", b"") for message in told[1:])
    return told[0]["status"], json.loads(body)


def jobs(world: World) -> list[Any]:
    listed: list[Any] = world.client.get("/v1/jobs").json()["data"]
    return listed


@LANES
def test_a_body_in_pieces_makes_a_job(world: World, query: bytes) -> None:
    answer = send(world, query, [piece(BODY[:5], more=True), piece(BODY[5:])])

    assert answer is not None
    assert answer[0] == 202
    assert len(jobs(world)) == 1


@LANES
@pytest.mark.parametrize(
    "steps",
    [
        [GONE],
        [piece(BODY[:5], more=True), GONE],
        [piece(BODY, more=True), GONE],  # as far as one can see all is there; its end is not
        [piece(b'{"prompt": "x"}')],  # sound JSON, and shorter than was declared
        [piece(b"")],
    ],
    ids=["at once", "within", "before the end", "short", "empty"],
)
def test_a_client_that_hangs_up_gets_no_job(
    world: World, query: bytes, steps: list[Step], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    answer = send(world, query, steps)

    assert answer is None
    assert jobs(world) == []
    assert "client disconnected" in caplog.text
    assert "request failed" not in caplog.text


@LANES
def test_a_body_that_drips_is_ended(world: World, query: bytes) -> None:
    async def never() -> dict[str, Any]:
        await asyncio.sleep(60)
        return piece(BODY)

    world.runtime.uploads.max_seconds = 0.05

    answer = send(world, query, [piece(BODY[:5], more=True), never])

    assert answer is not None
    assert (answer[0], answer[1]["code"]) == (503, "unavailable")
    assert answer[1]["request_id"]
    assert jobs(world) == []


@pytest.mark.parametrize("path", ["/v1/keys", "/internal/claims"])
def test_a_body_that_drips_is_ended_though_its_key_is_read_after_it(
    settings: Settings, path: str
) -> None:
    async def never() -> dict[str, Any]:
        await asyncio.sleep(60)
        return piece(BODY)

    app = build(settings)
    (limit,) = (each for each in app.user_middleware if each.cls is BodyLimit)
    limit.kwargs["seconds"] = 0.05
    with TestClient(app, base_url="http://rushes.test") as client:
        answer = send(World(client), b"", [piece(b"{", more=True), never], key="none", path=path)

    assert answer is not None
    assert (answer[0], answer[1]["code"]) == (408, "timeout")


@LANES
def test_a_key_revoked_while_the_body_comes_opens_nothing(world: World, query: bytes) -> None:
    made = world.client.post("/v1/keys", json={"name": "other"}).json()
    path = f"/v1/keys/{made['key']['id']}"

    async def revoked() -> dict[str, Any]:
        # The client's own calls need the loop that this one runs on.
        answer = await asyncio.to_thread(world.client.delete, path)
        assert answer.is_success
        return piece(BODY[5:])

    answer = send(world, query, [piece(BODY[:5], more=True), revoked], key=made["secret"])

    assert answer is not None
    assert (answer[0], answer[1]["code"]) == (401, "unauthenticated")
    assert jobs(world) == []


@LANES
def test_a_length_beside_chunks_says_nothing(world: World, query: bytes) -> None:
    """RFC 9112, 6.3: the chunks count. A length that is short of them is not believed."""
    sent = {"transfer-encoding": "chunked", "content-length": "3"}

    answer = send(world, query, [piece(BODY[:5], more=True), piece(BODY[5:])], **sent)

    assert answer is not None
    assert answer[0] == 202


@LANES
def test_a_submit_whose_client_hangs_up_is_not_held(world: World, query: bytes) -> None:
    """Its job stays; its place is for whoever still waits."""
    started = time.monotonic()

    answer = send(world, query, [piece(BODY), GONE], prefer="wait=60")

    assert time.monotonic() - started < 30
    assert answer is not None
    assert (answer[0], len(jobs(world))) == (202, 1)


def test_a_poll_whose_client_hangs_up_is_not_held(world: World) -> None:
    path = f"/v1/jobs/{world.submit()['id']}"
    started = time.monotonic()

    answer = send(world, b"wait=60", [piece(b""), GONE], method="GET", path=path)

    assert time.monotonic() - started < 30
    assert answer is not None
    assert answer[1]["status"] == "queued"
