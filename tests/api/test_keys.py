from dataclasses import replace
from datetime import datetime

import pytest
from fastapi.testclient import TestClient

from service.app import build
from service.domain.errors import Unavailable
from service.domain.key import KeyRole, new_key
from service.settings import Settings
from service.store import keys
from service.store.database import Database
from tests.api.world import KEY, World
from tests.make import START


def test_no_key_or_a_wrong_one_is_401(world: World) -> None:
    for value in (None, "Bearer ", "Bearer nonsense", "Basic abc", f"Bearer {KEY}x"):
        world.client.headers.pop("Authorization", None)
        headers = {} if value is None else {"Authorization": value}
        answer = world.client.get("/v1/jobs", headers=headers)

        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["code"] == "unauthenticated"


def test_knowing_a_keys_prefix_opens_nothing(world: World) -> None:
    secret = world.other_key()
    assert world.client.get("/v1/jobs", headers={"Authorization": f"Bearer {secret}"}).is_success
    forged = secret[:-1] + ("A" if secret[-1] != "A" else "B")

    answer = world.client.get("/v1/jobs", headers={"Authorization": f"Bearer {forged}"})

    assert answer.status_code == 401


def test_a_new_key_works_until_it_is_revoked(world: World) -> None:
    made = world.client.post("/v1/keys", json={"name": "render farm"}).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert world.client.get("/v1/jobs", headers=headers).status_code == 200

    revoked = world.client.delete(f"/v1/keys/{made['key']['id']}")

    assert revoked.json()["revoked_at"]
    assert world.client.get("/v1/jobs", headers=headers).status_code == 401


def test_a_secret_is_shown_once_and_stored_nowhere(world: World) -> None:
    secret = world.other_key()

    listed = world.client.get("/v1/keys").text

    assert secret not in listed
    assert (
        secret.split("_", 2)[2].encode()
        not in (
            world.runtime.artifacts._root.parent / "rushes.db"  # type: ignore[attr-defined]
        ).read_bytes()
    )


def test_the_last_admin_key_cannot_be_revoked(world: World) -> None:
    first = world.client.get("/v1/keys").json()["data"][0]
    assert world.client.delete(f"/v1/keys/{first['id']}").json()["code"] == "last_admin_key"

    world.other_key(admin=True)

    assert world.client.delete(f"/v1/keys/{first['id']}").status_code == 200


@pytest.mark.parametrize(("role", "revoked_at"), [(KeyRole.USER, None), (KeyRole.ADMIN, START)])
def test_a_service_without_an_admin_does_not_start(
    settings: Settings, role: KeyRole, revoked_at: datetime | None
) -> None:
    key = replace(new_key(KEY, name="x", now=START, role=role), revoked_at=revoked_at)
    db = Database(settings.database_url, lambda topics: None)
    db.write(lambda tx: keys.insert(tx, key)).result()
    db.close()

    with pytest.raises(Unavailable, match="no other admin key"), TestClient(build(settings)):
        pass


def test_the_first_key_may_be_revoked_once_there_is_another(settings: Settings) -> None:
    with TestClient(build(settings), headers={"Authorization": f"Bearer {KEY}"}) as client:
        world = World(client)
        other = world.other_key(admin=True)
        first, *_ = client.get("/v1/keys").json()["data"]
        assert client.delete(f"/v1/keys/{first['id']}").is_success

    with TestClient(build(settings), headers={"Authorization": f"Bearer {other}"}) as client:
        assert client.get("/v1/keys").is_success
        client.headers["Authorization"] = f"Bearer {KEY}"
        assert client.get("/v1/keys").status_code == 401


def test_a_viewer_reads_and_changes_nothing(world: World) -> None:
    made = world.client.post("/v1/keys", json={"name": "support", "role": "viewer"}).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert (made["key"]["role"], made["key"]["admin"]) == ("viewer", False)

    assert world.client.get("/v1/jobs", headers=headers).status_code == 200
    for _ in range(2):  # the second finds the key in the cache, and takes the fast path
        refused = world.client.post("/generate-video", json={"prompt": "x"}, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "read_only_key")
    job = world.submit()
    canceled = world.client.post(f"/v1/jobs/{job['id']}/cancel", headers=headers)
    assert canceled.status_code == 403
    assert world.job(job["id"])["status"] == "queued"


def test_a_key_has_one_role(world: World) -> None:
    both = world.client.post("/v1/keys", json={"name": "x", "admin": True, "role": "viewer"})
    admin = world.client.post("/v1/keys", json={"name": "x", "admin": True}).json()
    none = world.client.post("/v1/keys", json={"name": "x", "role": "owner"})

    assert both.status_code == none.status_code == 422
    assert admin["key"]["role"] == "admin"


def test_only_an_admin_may_handle_keys(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.other_key()}"}

    assert world.client.get("/v1/keys", headers=headers).status_code == 403
    assert world.client.post("/v1/keys", json={"name": "x"}, headers=headers).status_code == 403


def test_another_keys_job_is_404_on_every_route(world: World) -> None:
    world.submit()
    job_id = world.finish()
    headers = {"Authorization": f"Bearer {world.other_key()}"}
    routes = [
        (method, path.format(job_id=job_id))
        for path, operations in world.client.app.openapi()["paths"].items()  # type: ignore[attr-defined]
        for method in operations
        if "{job_id}" in path
    ]

    answers = {
        (method, path): world.client.request(method, path, headers=headers).status_code
        for method, path in routes
    }

    assert len(routes) >= 5
    assert set(answers.values()) == {404}
    assert world.client.get("/v1/jobs", headers=headers).json()["data"] == []


@pytest.mark.parametrize("job_id", ["nonsense", "job_", "job_" + "0" * 26, "..%2f..", "%00"])
def test_a_job_that_cannot_be_is_404(world: World, job_id: str) -> None:
    assert world.client.get(f"/v1/jobs/{job_id}").status_code == 404


def test_only_these_routes_answer_without_a_key(world: World) -> None:
    del world.client.headers["Authorization"]
    open_routes = set()
    for path, operations in world.client.app.openapi()["paths"].items():  # type: ignore[attr-defined]
        for method in operations:
            filled = path.replace("{job_id}", "job_" + "0" * 26)
            filled = filled.replace("{attempt_id}", f"job_{'0' * 26}.1").replace("{key_id}", "k")
            answer = world.client.request(method, filled, json={})
            if answer.status_code not in (401, 422):
                open_routes.add(path)

    assert open_routes == {"/health", "/livez", "/readyz"}
