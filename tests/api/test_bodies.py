"""Bodies that are not what is taken are told what would be."""

import gzip
import json

import pytest

from tests.api.world import World

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/generate-video", {"prompt": "x"}),
        ("POST", "/v1/estimate", {"prompt": "x"}),
        ("POST", "/v1/keys", {"name": "x"}),
        ("POST", "/v1/webhook-endpoints", {"url": "https://example.com/"}),
        ("PUT", "/v1/models/slate/warm", {"containers": 1}),
    ],
)
@pytest.mark.parametrize("coding", ["gzip", "br", "x-own"])
def test_a_compressed_body_is_refused_by_its_codings_name(
    world: World, method: str, path: str, body: object, coding: str
) -> None:
    content = gzip.compress(json.dumps(body).encode())

    answer = world.client.request(
        method, path, content=content, headers={**JSON, "Content-Encoding": coding}
    )

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_encoding")
    assert f"`Content-Encoding: {coding}`" in answer.json()["detail"]
    assert answer.headers["accept-encoding"] == "identity"


def test_what_only_says_that_it_is_compressed_is_refused_too(world: World) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}
    world.client.get("/v1/jobs")  # the key is known now, and the short way open

    answer = world.client.post("/generate-video", content=b'{"prompt": "x"}', headers=headers)

    assert answer.status_code == 415


def test_identity_is_no_compression(world: World) -> None:
    headers = {**JSON, "Content-Encoding": "Identity"}

    answer = world.client.post("/generate-video", content=b'{"prompt": "x"}', headers=headers)

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("path", "name"),
    [("/generate-video", "prompt"), ("/v1/estimate", "prompt"), ("/v1/keys", "name")],
)
def test_a_body_that_is_not_utf8_is_told_so(world: World, path: str, name: str) -> None:
    content = f'{{"{name}": "caf\u00e9"}}'.encode("latin-1")

    answer = world.client.post(path, content=content, headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
    assert answer.json()["detail"] == "the body is not UTF-8"


@pytest.mark.parametrize("path", ["/generate-video", "/v1/estimate"])
def test_an_urlencoded_form_is_told_of_multipart(world: World, path: str) -> None:
    answer = world.client.post(path, data={"prompt": "a red ball"})

    assert answer.status_code == 422
    assert "`multipart/form-data`" in answer.json()["detail"]
    assert "urlencoded" in answer.json()["detail"]


def test_a_route_that_takes_no_form_does_not_offer_one(world: World) -> None:
    answer = world.client.post("/v1/keys", data={"name": "other"})

    assert answer.status_code == 422
    assert "application/json" in answer.json()["detail"]
    assert "form" not in answer.json()["detail"]
