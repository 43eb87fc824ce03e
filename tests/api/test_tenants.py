"""One key never sees or touches what is another's: every route, found in the API's own schema."""

import re

import pytest

from service.store import likenesses
from tests.api.world import World
from tests.store.test_likenesses import avatar, voice


@pytest.fixture
def of_another(world: World) -> dict[str, str]:
    """What belongs to the first key, by the name of the path parameter that would lead to it."""
    ask = {"url": "https://hooks.example.com/a"}
    endpoint = world.client.post("/v1/webhook-endpoints", json=ask).json()["endpoint"]
    world.submit()
    job = world.finish()
    delivery = world.client.get("/v1/webhook-deliveries").json()["data"][0]
    key = world.client.get("/v1/keys").json()["data"][0]
    face, clone = avatar(key["id"]), voice(key["id"], "cloned")
    world.runtime.db.write(lambda tx: likenesses.insert(tx, face, None)).result()
    world.runtime.db.write(lambda tx: likenesses.insert(tx, clone, None)).result()
    return {
        "job_id": job,
        "endpoint_id": endpoint["id"],
        "delivery_id": delivery["id"],
        "key_id": key["id"],
        "avatar_id": face.id,
        "voice_id": clone.id,
        "model": "slate",
    }


def routes(world: World) -> list[tuple[str, str]]:
    paths = world.client.get("/openapi.json").json()["paths"]
    return [
        (method.upper(), path)
        for path, operations in paths.items()
        for method in operations
        if not path.startswith("/internal/")
    ]


def test_a_stranger_finds_nothing_of_anothers_on_any_route(
    world: World, of_another: dict[str, str]
) -> None:
    stranger = {"Authorization": f"Bearer {world.other_key()}"}
    tried = 0

    for method, path in routes(world):
        names = re.findall(r"{(\w+)}", path)
        if not names:
            continue
        tried += 1
        answer = world.client.request(method, path.format(**of_another), headers=stranger)
        refused = 403 if path.startswith(("/v1/keys", "/v1/models")) else 404  # for admins only
        assert answer.status_code == refused, (method, path, answer.text)

    assert tried >= 14
    assert world.job(of_another["job_id"])["status"] == "succeeded"
    listed = world.client.get("/v1/webhook-endpoints").json()["data"]
    assert [one["id"] for one in listed] == [of_another["endpoint_id"]]


def test_a_stranger_finds_nothing_of_anothers_in_any_list(
    world: World, of_another: dict[str, str]
) -> None:
    stranger = {"Authorization": f"Bearer {world.other_key()}"}
    lists = ("/v1/jobs", "/v1/webhook-endpoints", "/v1/webhook-deliveries", "/v1/avatars")

    for path in lists:
        assert world.client.get(path).json()["data"] != []
        assert world.client.get(path, headers=stranger).json()["data"] == []
    by_id = world.client.get(f"/v1/jobs?ids={of_another['job_id']}", headers=stranger)
    assert by_id.json()["data"] == []


def test_without_a_key_only_these_routes_answer(world: World, of_another: dict[str, str]) -> None:
    open_to_all = {
        path
        for method, path in routes(world)
        if world.client.request(
            method, path.format(**of_another), headers={"Authorization": ""}
        ).status_code
        not in (401, 422)
    }

    assert open_to_all == {"/health", "/livez", "/readyz"}
