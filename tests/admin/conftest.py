from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from service.app import build
from service.settings import Settings
from tests.admin.person import Person
from tests.api.conftest import settings as settings
from tests.api.world import KEY, World


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    app = build(settings)
    with TestClient(app, base_url="http://rushes.test", raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield World(client)


@pytest.fixture
def admin(world: World) -> Person:
    """A person who is logged in with the admin key."""
    return Person(world).log_in(KEY)


@pytest.fixture
def viewer(world: World) -> Person:
    made = world.client.post("/v1/keys", json={"name": "support", "role": "viewer"}).json()
    return Person(world).log_in(made["secret"])
