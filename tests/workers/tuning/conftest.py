from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import BUILD


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a model's tiny checkpoint, written when it is first asked for."""
    written: dict[object, Path] = {}

    def folder(model: str) -> Path:
        build = BUILD[model]
        if build not in written:
            written[build] = build(tmp_path_factory.mktemp(model))
        return written[build]

    return folder
