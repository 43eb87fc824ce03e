from collections.abc import Iterator
from pathlib import Path

import pytest

from service.domain.ids import KeyId
from tests import make
from tests.offsite.world import Node, World


@pytest.fixture
def world(tmp_path: Path, migrated: Path) -> Iterator[World]:
    found = World(tmp_path, migrated)
    yield found
    found.close()


@pytest.fixture
def node(world: World) -> Node:
    """The first owner."""
    return world.must_take("a")


@pytest.fixture
def key(node: Node) -> KeyId:
    return make.key(node.db)[0]
