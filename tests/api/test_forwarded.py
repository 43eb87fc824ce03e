"""The service behind a proxy: what it is called outside, and its pages under a prefix."""

import re
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from service.app import build
from service.settings import Settings
from tests.api.world import KEY, WORKER_TOKEN

OUTSIDE = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "video.example.com",
    "X-Forwarded-Prefix": "/rushes/",
}
PROXY, STRANGER = "10.1.2.3", "10.9.9.9"


@pytest.fixture
def app(settings: Settings) -> Iterator[TestClient]:
    behind = settings.model_copy(update={"trusted_proxies": ["10.1.0.0/16"]})
    with TestClient(build(behind), base_url="http://inside:8787", client=(PROXY, 1)) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield client


def submitted(client: TestClient, **headers: str) -> str:
    answer = client.post("/generate-video", json={"prompt": "x"}, headers=headers)
    return str(answer.json()["urls"]["self"]).rpartition("/v1/")[0]


@pytest.mark.parametrize("lane", [{}, {"Origin": "http://a.test"}])
def test_links_lead_to_what_the_client_called(app: TestClient, lane: dict[str, str]) -> None:
    app.get("/v1/jobs")  # the key is known now, and the short way open

    assert submitted(app, **lane) == "http://inside:8787"
    assert submitted(app, **lane, **OUTSIDE) == "https://video.example.com/rushes"


def test_a_ticket_leads_where_its_worker_came_in(app: TestClient) -> None:
    submitted(app)
    ask = {"worker": "w", "models": ["slate"], "wait_seconds": 0}
    headers = {**OUTSIDE, "Authorization": f"Bearer {WORKER_TOKEN}"}

    ticket = app.post("/internal/claims", json=ask, headers=headers).json()

    assert ticket["api_url"] == "https://video.example.com/rushes"


def test_a_stranger_is_not_believed(app: TestClient) -> None:
    stranger = TestClient(app.app, base_url="http://inside:8787", client=(STRANGER, 1))
    stranger.headers["Authorization"] = f"Bearer {KEY}"

    assert submitted(stranger, **OUTSIDE) == "http://inside:8787"


@pytest.mark.parametrize(
    ("header", "text", "base"),
    [
        ("X-Forwarded-Host", "spoofed.test, video.example.com", "http://video.example.com"),
        ("X-Forwarded-Host", "[2001:db8::1]:8443", "http://[2001:db8::1]:8443"),
        ("X-Forwarded-Host", "a.test/path", "http://inside:8787"),
        ("X-Forwarded-Host", "user@a.test", "http://inside:8787"),
        ("X-Forwarded-Proto", "javascript", "http://inside:8787"),
        ("X-Forwarded-Prefix", "/a/b", "http://inside:8787/a/b"),
        ("X-Forwarded-Prefix", "//evil.test", "http://inside:8787"),
        ("X-Forwarded-Prefix", "/a?b", "http://inside:8787"),
    ],
)
def test_what_is_no_address_is_passed_over(
    app: TestClient, header: str, text: str, base: str
) -> None:
    assert submitted(app, **{header: text}) == base


def test_a_prefix_that_a_route_begins_with_too_takes_nothing_off_it(app: TestClient) -> None:
    assert app.get("/v1/models", headers={"X-Forwarded-Prefix": "/v1"}).status_code == 200


def test_the_public_url_stands_above_what_proxies_say(settings: Settings) -> None:
    known = settings.model_copy(update={"public_url": "https://known.example.com/"})
    with TestClient(build(known), client=("127.0.0.1", 1)) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"

        assert submitted(client, **OUTSIDE) == "https://known.example.com"
        described = client.get("/openapi.json", headers=OUTSIDE).json()
        assert described["servers"] == [{"url": "https://known.example.com"}]


def test_the_description_names_the_server_that_it_came_from(app: TestClient) -> None:
    inside = app.get("/openapi.json").json()
    outside = app.get("/openapi.json", headers=OUTSIDE).json()

    assert inside["servers"] == [{"url": "http://inside:8787"}]
    assert outside["servers"] == [{"url": "https://video.example.com/rushes"}]
    assert inside["paths"] == outside["paths"]


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_pages_need_no_other_server_and_work_under_a_prefix(app: TestClient, page: str) -> None:
    html = app.get(page).text
    named = re.findall(r"""(?:src|href|spec-url)=['"]([^'"]+)|url: '([^']+)'""", html)
    outside = [urljoin(f"https://a.test/rushes{page}", one or other) for one, other in named]

    assert len(outside) >= 3
    for url in outside:
        parts = urlsplit(url)
        assert (parts.netloc, parts.path[:8]) == ("a.test", "/rushes/"), url
        answer = app.get(parts.path.removeprefix("/rushes"))
        assert (answer.status_code, len(answer.content) > 1000) == (200, True), url


def test_the_root_leads_to_the_documentation_under_a_prefix_too(app: TestClient) -> None:
    answer = app.get("/", follow_redirects=False)

    assert (answer.status_code, answer.headers["location"]) == (307, "docs")


@pytest.mark.parametrize("name", ["public_url", "worker_url", "s3_endpoint_url"])
@pytest.mark.parametrize(
    ("address", "nearest"),
    [
        ("rushes.example.com", "https://rushes.example.com"),
        ("localhost:8787", "https://localhost:8787"),
        ("//rushes.example.com/a", "https://rushes.example.com/a"),
        ("ftp://rushes.example.com", "https://rushes.example.com"),
        ("https://user:secret@rushes.example.com", "https://rushes.example.com"),
        ("https://rushes.example.com?a=b", "https://rushes.example.com"),
        ("https://", "https://rushes.example.com"),
        ("https://rushes .example.com/a b", "https://rushes.example.com/ab"),
        ("https://\u00fc.example.com", "https://xn--tda.example.com"),
    ],
)
def test_an_address_that_no_link_can_begin_with_stops_the_start(
    name: str, address: str, nearest: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None, **{name: address})

    (error,) = refused.value.errors()
    assert error["loc"] == (name,)
    assert error["msg"].endswith(f" like {nearest}")


def test_a_proxy_that_is_no_network_stops_the_start() -> None:
    with pytest.raises(ValidationError, match=r"'proxy\.local' does not appear to be"):
        Settings(_env_file=None, trusted_proxies=["proxy.local"])
