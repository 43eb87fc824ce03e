"""One loopback Modal for every test of this folder, and one service on it for most of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dev.loopback_modal.harness import LoopbackModal, loopback_modal, unsupported_reason
from tests.conftest import new_database
from tests.modal.live import Live, deployed, secrets
from tests.webhooks.receiver import Receiver, receiving

REASON = unsupported_reason()
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(REASON), reason=f"containers need mounts of their own: {REASON}"),
]


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackModal]:
    with loopback_modal(tmp_path_factory.mktemp("modal")) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def live(cloud: LoopbackModal, postgres: sa.URL) -> Iterator[Live]:
    """It runs on through all tests, so its database is its own."""
    settings = {
        "models": ["slate", "ltx-2b", "puppet"],
        "modal_max_containers": 2,
        "modal_min_containers": {"ltx-2b": 0},
        "running_lease_seconds": 3,
        "webhooks_allow_loopback": True,
    }
    with deployed(cloud, "rushes", secrets(new_database(postgres)), settings) as live:
        yield live


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path / "received") as found:
        yield found
