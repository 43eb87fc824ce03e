from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import BUILD


@pytest.fixture(scope="session")
def gpu() -> str:
    """Its name. Without one these tests are skipped."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return str(torch.cuda.get_device_name())


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a model's tiny checkpoint."""
    return lambda model: BUILD[model](tmp_path_factory.mktemp(model))
