from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from tests.api.world import VIDEO, World


@pytest.fixture
def link(world: World) -> str:
    """The signed link of a finished video."""
    world.submit()
    url = urlsplit(world.job(world.finish())["result"]["video_url"])
    return f"{url.path}?{url.query}"


def anonymous(world: World) -> None:
    del world.client.headers["Authorization"]


def test_the_signed_link_needs_no_key(world: World, link: str) -> None:
    anonymous(world)

    answer = world.client.get(link)

    assert answer.content == VIDEO
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"


def test_no_browser_may_take_the_bytes_for_something_else(world: World, link: str) -> None:
    etag = world.client.get(link).headers["etag"]

    answers = [
        world.client.get(link),
        world.client.head(link),
        world.client.get(link, headers={"Range": "bytes=0-9"}),
        world.client.get(link, headers={"If-None-Match": etag}),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 206, 304]
    assert {answer.headers.get("x-content-type-options") for answer in answers} == {"nosniff"}


def test_a_range_is_answered_with_that_range(world: World, link: str) -> None:
    answer = world.client.get(link, headers={"Range": "bytes=100-199"})
    tail = world.client.get(link, headers={"Range": "bytes=-10"})
    beyond = world.client.get(link, headers={"Range": f"bytes={len(VIDEO)}-"})

    assert (answer.status_code, answer.content) == (206, VIDEO[100:200])
    assert answer.headers["content-range"] == f"bytes 100-199/{len(VIDEO)}"
    assert tail.content == VIDEO[-10:]
    assert beyond.status_code == 416


@pytest.mark.parametrize(
    "text",
    [
        *("bytes=abc", "bytes=", "bytes", "bytes=-", "bytes=,", "bytes=0-9,abc", "bytes=9-5"),
        *("bytes=0x1-", "bytes=1-2-3", "bytes=" + "9" * 5000 + "-", "bytes=0-" + "9" * 5000),
    ],
)
def test_a_range_that_is_not_well_formed_is_ignored(world: World, link: str, text: str) -> None:
    answer = world.client.get(link, headers={"Range": text})

    assert (answer.status_code, answer.content) == (200, VIDEO)


def test_empty_elements_of_a_list_of_ranges_do_not_count(world: World, link: str) -> None:
    answer = world.client.get(link, headers={"Range": "Bytes=, 5-9 ,"})

    assert (answer.status_code, answer.content) == (206, VIDEO[5:10])


def test_head_tells_the_size_and_sends_nothing(world: World, link: str) -> None:
    answer = world.client.head(link)

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(VIDEO))


def test_the_etag_is_the_hash_and_makes_a_304(world: World, link: str) -> None:
    first = world.client.get(link)
    job = world.client.get("/v1/jobs").json()["data"][0]

    again = world.client.get(link, headers={"If-None-Match": first.headers["etag"]})

    assert first.headers["etag"] == f'"{job["result"]["sha256"]}"'
    assert again.status_code == 304


def test_a_browser_may_read_what_a_player_needs(world: World, link: str) -> None:
    answer = world.client.get(link, headers={"Origin": "http://localhost:3000"})

    assert answer.headers["access-control-allow-origin"] == "*"
    exposed = answer.headers["access-control-expose-headers"]
    for name in ("Content-Range", "Accept-Ranges", "Content-Length", "ETag"):
        assert name in exposed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("signature=", "signature=0"),
        ("variant=video", "variant=thumbnail"),
        ("variant=video", "variant=last_frame"),
        ("expires=1", "expires=2"),
    ],
)
def test_a_tampered_link_opens_nothing(world: World, link: str, old: str, new: str) -> None:
    anonymous(world)
    tampered = link.replace(old, new)
    if old == "signature=":
        tampered = tampered[: len(link)]
    assert tampered != link

    assert world.client.get(tampered).status_code == 401


def test_a_link_ends_with_the_bytes(world: World, link: str) -> None:
    anonymous(world)
    expires = int(link.split("expires=")[1].split("&")[0])
    at = datetime.fromtimestamp(expires, UTC)
    object.__setattr__(world.runtime, "clock", lambda: at - timedelta(seconds=1))
    assert world.client.get(link).status_code == 200

    object.__setattr__(world.runtime, "clock", lambda: at)

    assert world.client.get(link).status_code == 401


@pytest.mark.parametrize("known", ["W/{tag}", '"x", {tag}', "*"])
def test_every_form_of_if_none_match_is_understood(world: World, link: str, known: str) -> None:
    tag = world.client.head(link).headers["etag"]

    answer = world.client.get(link, headers={"If-None-Match": known.format(tag=tag)})

    assert answer.status_code == 304


def test_a_link_is_for_one_job_only(world: World, link: str) -> None:
    world.submit()
    other = world.finish()
    anonymous(world)
    mine = link.split("/")[3]

    assert world.client.get(link.replace(mine, other)).status_code == 401


def test_without_a_link_a_key_is_needed(world: World, link: str) -> None:
    path = link.split("?")[0]
    assert world.client.get(path).content == VIDEO
    assert world.client.get(f"{path}?variant=thumbnail").headers["content-type"] == "image/jpeg"

    anonymous(world)

    assert world.client.get(path).status_code == 401


def test_a_job_without_a_video_says_why(world: World) -> None:
    job = world.submit()
    waiting = world.client.get(f"/v1/jobs/{job['id']}/content")
    world.client.post(f"/v1/jobs/{job['id']}/cancel")
    canceled = world.client.get(f"/v1/jobs/{job['id']}/content")

    assert (waiting.status_code, canceled.status_code) == (409, 409)
    assert "not finished" in waiting.json()["detail"]
    assert "no video" in canceled.json()["detail"]
