"""Conditional requests, ranges, HEAD, Allow and CORS, as RFC 9110 and browsers have them."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from service.app import build
from service.settings import Settings
from tests.api.world import KEY, VIDEO, World

LONG_AGO, FAR_AHEAD = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
ORIGIN = {"Origin": "http://localhost:3000"}


@pytest.fixture
def link(world: World) -> str:
    """The signed link of a finished video."""
    world.submit()
    url = urlsplit(world.job(world.finish())["result"]["video_url"])
    return f"{url.path}?{url.query}"


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"If-Modified-Since": FAR_AHEAD}, 304),
        ({"If-Modified-Since": "{modified}"}, 304),
        ({"If-Modified-Since": LONG_AGO}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-Modified-Since": "Mon, 30 Nov 2026 12:00:00 +99999999999999999999"}, 200),
        ({"If-Modified-Since": FAR_AHEAD, "If-None-Match": '"other"'}, 200),
        ({"If-Unmodified-Since": LONG_AGO}, 412),
        ({"If-Unmodified-Since": "{modified}"}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": "W/{tag}"}, 412),
        ({"If-Match": '"other", {tag}'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": "{tag}", "If-Unmodified-Since": LONG_AGO}, 200),
        ({"If-Match": "{tag}", "If-None-Match": "{tag}"}, 304),
        ({"If-Match": '"other"', "If-None-Match": "{tag}"}, 412),
        ({"Range": "bytes=0-9", "If-Range": "{tag}"}, 206),
        ({"Range": "bytes=0-9", "If-Range": "{modified}"}, 206),
        ({"Range": "bytes=0-9", "If-Range": LONG_AGO}, 200),
        ({"Range": "bytes=0-9", "If-Match": '"other"'}, 412),
    ],
)
def test_content_keeps_to_conditions(
    world: World, link: str, condition: dict[str, str], status: int
) -> None:
    known = world.client.head(link).headers
    says = {"tag": known["etag"], "modified": known["last-modified"]}

    answer = world.client.get(
        link, headers={name: text.format(**says) for name, text in condition.items()}
    )

    assert answer.status_code == status
    if status == 412:
        assert answer.json()["code"] == "precondition_failed"


def test_last_modified_is_when_the_job_finished(world: World, link: str) -> None:
    finished = world.client.get("/v1/jobs").json()["data"][0]["finished_at"]

    modified = world.client.get(link).headers["last-modified"]

    assert modified.split()[4] == finished[11:19]


@pytest.mark.parametrize("given", ["pages=1-2", "chapters=1", "seconds=0-5, 8-9"])
def test_a_range_in_another_unit_is_ignored(world: World, link: str, given: str) -> None:
    answer = world.client.get(link, headers={"Range": given})

    assert (answer.status_code, answer.content) == (200, VIDEO)


def test_a_range_is_for_get_alone(world: World, link: str) -> None:
    answer = world.client.head(link, headers={"Range": "bytes=0-9"})

    assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(VIDEO)))


@pytest.mark.parametrize("origin", [{}, ORIGIN])
def test_a_job_keeps_to_if_match(world: World, origin: dict[str, str]) -> None:
    path = f"/v1/jobs/{world.submit()['id']}"
    tag = world.client.get(path).headers["etag"]

    same = world.client.get(path, headers={**origin, "If-Match": tag})
    other = world.client.get(path, headers={**origin, "If-Match": '"other"'})

    assert (same.status_code, other.status_code) == (200, 412)


def test_a_job_that_has_changed_is_not_deleted(world: World) -> None:
    path = f"/v1/jobs/{world.submit()['id']}"
    before = world.client.get(path).headers["etag"]
    world.client.post(f"{path}/cancel")
    after = world.client.get(path).headers["etag"]

    refused = world.client.delete(path, headers={"If-Match": before})
    there = world.client.get(path)
    deleted = world.client.delete(path, headers={"If-Match": after})

    assert (refused.status_code, there.status_code, deleted.status_code) == (412, 200, 200)


@pytest.mark.parametrize(
    "path", ["/health", "/livez", "/readyz", "/v1/jobs", "/v1/models", "/openapi.json", "/docs"]
)
def test_head_is_taken_wherever_get_is(world: World, path: str) -> None:
    got, head = world.client.get(path), world.client.head(path)

    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/generate-video", "POST"),
        ("HEAD", "/generate-video", "POST"),
        ("PATCH", "/v1/jobs/job_x", "DELETE, GET, HEAD"),
        ("DELETE", "/v1/jobs", "GET, HEAD"),
        ("PUT", "/v1/keys", "GET, HEAD, POST"),
        ("POST", "/v1/jobs/job_x/content", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("DELETE", "/v1/models/slate/warm", "GET, HEAD, PUT"),
    ],
)
def test_allow_names_every_method_of_the_path(
    world: World, method: str, path: str, allowed: str
) -> None:
    answer = world.client.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("origin", [{}, ORIGIN, {**ORIGIN, "Cookie": "a=b"}])
def test_content_in_a_cache_does_for_every_origin(
    world: World, link: str, origin: dict[str, str]
) -> None:
    answer = world.client.get(link, headers=origin)

    assert answer.headers["access-control-allow-origin"] == "*"
    assert "vary" not in answer.headers
    assert "immutable" in answer.headers["cache-control"]


@pytest.fixture
def restricted(settings: Settings) -> Iterator[TestClient]:
    with TestClient(build(settings.model_copy(update={"cors_origins": ["http://a.test"]}))) as it:
        it.headers["Authorization"] = f"Bearer {KEY}"
        yield it


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [({}, None), ({"Origin": "http://a.test"}, "http://a.test"), (ORIGIN, None)],
)
def test_an_answer_for_some_origins_says_that_it_varies(
    restricted: TestClient, origin: dict[str, str], allowed: str | None
) -> None:
    answer = restricted.get("/v1/models", headers=origin)

    assert answer.headers.get("access-control-allow-origin") == allowed
    assert answer.headers["vary"] == "Origin"
