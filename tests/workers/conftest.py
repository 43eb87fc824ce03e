import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> None:
    """Keep what is loaded by now out of the searches for garbage: with torch, one takes half a
    second, and a worker makes one after every clip."""
    gc.collect()
    gc.freeze()
