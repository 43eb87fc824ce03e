"""A model in less memory, and in all of it again, without being read from the disk again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.domain.levers import Profile
from tests.workers.models import loaded, render

pytestmark = pytest.mark.slow


def test_the_small_profile_decodes_by_tiles_and_the_full_one_whole_again(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint("ltx-2b"), tmp_path / "ltx")
    adapter = loaded("ltx-2b", folder)
    frames = render(adapter)
    shutil.rmtree(folder)  # it is placed anew, not read anew

    adapter.load(Profile.SMALL)
    small = render(adapter)
    how_small = adapter.made_with
    adapter.load()

    # A clip that one tile holds is the very same clip.
    assert np.array_equal(small, frames)
    assert how_small["decode"] == "tiles"
    assert np.array_equal(render(adapter), frames)
    assert adapter.made_with["decode"] == "whole"


@pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")
@pytest.mark.parametrize("model", ["ltx-13b", "mochi", "hunyuan", "hunyuan-1.5"])
def test_a_model_that_is_always_decoded_by_tiles_stays_so(
    checkpoint: Callable[[str], Path], model: str
) -> None:
    adapter = loaded(model, checkpoint(model))

    adapter.load(Profile.SMALL)
    adapter.load(Profile.FULL)
    render(adapter)

    assert adapter.made_with["decode"] == "tiles"


def test_a_model_that_was_not_loaded_can_be_loaded_small_at_once(
    checkpoint: Callable[[str], Path],
) -> None:
    adapter = loaded("wan2.2-5b", checkpoint("wan2.2-5b"), profile=Profile.SMALL)

    render(adapter)

    assert adapter.made_with["decode"] == "tiles"
