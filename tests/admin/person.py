"""A person at the admin pages, without a browser."""

import re
from typing import Any

from fastapi.testclient import TestClient
from httpx import Response

from tests.api.world import World


class Person:
    """Follows no redirect, and sends the CSRF token of its session with each form."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = TestClient(
            world.client.app,
            base_url="http://rushes.test",
            follow_redirects=False,
            raise_server_exceptions=False,
        )
        self.csrf = ""

    def log_in(self, secret: str, goal: str = "") -> "Person":
        answer = self.client.post("/admin/login", data={"key": secret, "next": goal})
        assert answer.status_code == 303, answer.text
        found = re.search(r'name="csrf" value="(\w+)"', self.get("/admin").text)
        assert found is not None
        self.csrf = found[1]
        return self

    def get(self, path: str, **options: Any) -> Response:
        return self.client.get(path, **options)

    def post(self, path: str, **fields: Any) -> Response:
        return self.client.post(path, data={"csrf": self.csrf, **fields})
