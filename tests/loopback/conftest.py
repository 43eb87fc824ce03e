"""One loopback Modal with the shop deployed, for every test of this folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from dev.loopback_modal.harness import LoopbackModal, loopback_modal, unsupported_reason

HERE = Path(__file__).parent


REASON = unsupported_reason()
MARKS = [
    pytest.mark.slow,
    pytest.mark.xdist_group("modal"),
    pytest.mark.skipif(bool(REASON), reason=f"containers need mounts of their own: {REASON}"),
]


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackModal]:
    with loopback_modal(tmp_path_factory.mktemp("modal")) as cloud:
        cloud.modal("secret", "create", "shop-keys", "SHOP_KEY=k1")
        cloud.deploy("shop.py", cwd=HERE)
        yield cloud


@pytest.fixture
def gate(cloud: LoopbackModal) -> Path:
    """A file that containers see, and that is not there yet."""
    return cloud.state / f"gate-{uuid4().hex}"


@pytest.fixture(scope="session")
def client(cloud: LoopbackModal) -> Iterator[Any]:
    with cloud.client() as client:
        yield client


@pytest.fixture(scope="session")
def shop(cloud: LoopbackModal) -> Iterator[httpx.Client]:
    """The shop's web Function, over HTTP."""
    with httpx.Client(base_url=f"{cloud.http}/web/shop", timeout=30) as shop:
        yield shop
