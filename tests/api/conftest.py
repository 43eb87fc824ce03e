from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import build
from service.settings import Settings
from tests.api.world import KEY, WORKER_TOKEN, World


@pytest.fixture
def settings(tmp_path: Path, migrated: Path) -> Settings:
    (tmp_path / "rushes.db").write_bytes(migrated.read_bytes())
    return Settings(
        _env_file=None,
        data_dir=tmp_path,
        bootstrap_key=KEY,
        worker_token=WORKER_TOKEN,
        models=["slate", "ltx-2b"],
    )


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    with TestClient(
        build(settings), base_url="http://rushes.test", raise_server_exceptions=False
    ) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield World(client)
