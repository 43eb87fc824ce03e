"""A model in less memory, and in all of it again, without being read from the disk again."""

import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.domain.attempt import AttemptFailed, Profile
from service.domain.models.catalog import CARDS
from service.domain.models.tuning import DEFAULT_TUNING
from service.workers.adapters import diffusion
from service.workers.adapters.diffusion import DiffusionAdapter
from service.workers.adapters.registry import make_adapter
from service.workers.attempt import ModelCache
from tests.workers.models import loaded, render, request_of

torch = pytest.importorskip("torch")
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


@pytest.mark.parametrize("model", ["ltx-13b", "wan2.2-5b"])
def test_what_does_not_fit_is_loaded_in_less_memory_and_not_twice(
    checkpoint: Callable[[str], Path], model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(checkpoint(model), tmp_path / "weights")
    adapter = make_adapter(CARDS[model], folder, DEFAULT_TUNING)
    assert isinstance(adapter, DiffusionAdapter)

    def full(*_: object) -> str:
        shutil.rmtree(folder)  # what was read once is not read again
        raise torch.OutOfMemoryError("as planned")

    with monkeypatch.context() as patch:
        patch.setattr(diffusion, "place_pipe", full)
        with pytest.raises(AttemptFailed, match="does not fit"):
            adapter.load()
    assert adapter.pipe is None

    adapter.load(Profile.SMALL)

    assert len(render(adapter)) == request_of(model).num_frames


def test_a_worker_that_goes_over_to_another_model_holds_the_one_before_no_more(
    checkpoint: Callable[[str], Path],
) -> None:
    warm = ModelCache(lambda card: make_adapter(card, checkpoint(card.name), DEFAULT_TUNING))
    seen: list[weakref.ref[object]] = []

    for model in ("ltx-13b", "wan2.2-5b", "ltx-2b", "ltx-13b"):
        adapter = warm.adapter(CARDS[model])
        assert [one() for one in seen] == [None] * len(seen)
        adapter.load()
        assert isinstance(adapter, DiffusionAdapter)
        render(adapter)
        seen.append(weakref.ref(adapter.pipe.transformer))
        del adapter


def test_what_is_unloaded_is_gone_and_can_be_loaded_again(
    checkpoint: Callable[[str], Path],
) -> None:
    adapter = loaded("ltx-13b", checkpoint("ltx-13b"))
    frames, transformer = render(adapter), weakref.ref(adapter.pipe.transformer)

    adapter.unload()
    assert transformer() is None
    adapter.load()

    assert np.array_equal(render(adapter), frames)
