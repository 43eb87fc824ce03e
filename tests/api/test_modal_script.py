"""Functions of the deployed script, called here without a container."""

import importlib
import sys
from types import ModuleType
from typing import Any

import httpx
import huggingface_hub
import modal
import pytest

from service.domain.models.catalog import CARDS
from tests.api.world import WORKER_TOKEN, World

NAME = "scripts.modal_text_to_video"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """As a container imports it, which asks Modal for nothing."""
    monkeypatch.setattr(modal, "is_local", lambda: False)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    found = importlib.import_module(NAME)
    monkeypatch.setitem(sys.modules, NAME, found)
    return found


class Weights:
    """In place of the Volume."""

    commits = 0

    def commit(self) -> None:
        self.commits += 1


@pytest.mark.filterwarnings("ignore:The download function is executing locally")
@pytest.mark.parametrize("model", ["ltx-2b", "ltx-13b", "wan2.2-5b-fast"])
def test_weights_are_fetched_at_their_pinned_revision(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    asked: list[tuple[str, str, tuple[str, ...]]] = []

    def fetch(repo: str, *, revision: str, allow_patterns: list[str]) -> None:
        asked.append((repo, revision, tuple(allow_patterns)))

    volume = Weights()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setattr(script, "weights", volume)

    script.download.local(model)

    pinned = [(each.repo, each.revision, tuple(each.files)) for each in CARDS[model].weights]
    assert asked == pinned
    assert all(len(revision) == 40 for _, revision, _ in asked)
    assert volume.commits == 1


@pytest.fixture
def over_http(world: World, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> World:
    """The script's requests reach the service in this process."""

    def post(url: str, headers: dict[str, str], timeout: float) -> httpx.Response:
        world.client.headers.clear()
        status = world.client.post(url, headers=headers).status_code
        return httpx.Response(status, request=httpx.Request("POST", url))

    monkeypatch.setattr(httpx, "post", post)
    monkeypatch.setattr(script, "_api_url", lambda: "http://rushes.test")
    return world


def test_the_tick_wakes_the_service(
    over_http: World, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSHES_WORKER_TOKEN", WORKER_TOKEN)

    assert script.tick.local() == 200


def test_a_tick_that_is_let_in_nowhere_fails_where_its_owner_sees_it(
    over_http: World, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSHES_WORKER_TOKEN", "another-token-another-token-another")

    with pytest.raises(httpx.HTTPStatusError):
        script.tick.local()


def test_a_tick_asks_for_its_token(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUSHES_WORKER_TOKEN", raising=False)
    sent: list[Any] = []
    monkeypatch.setattr(httpx, "post", lambda *given, **_: sent.append(given))
    monkeypatch.setattr(script, "_api_url", lambda: "http://rushes.test")

    with pytest.raises(AssertionError):
        script.tick.local()

    assert sent == []
