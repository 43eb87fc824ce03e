"""A clip that does not fit into the decoder is decoded by tiles, once; precision and layout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.domain.attempt import AttemptFailed, FailureKind, Profile
from service.domain.models.tuning import Tuning
from service.workers.adapters.diffusion import DiffusionAdapter
from service.workers.tuning.decoder import prepare_vae
from tests.workers.models import loaded, render
from tests.workers.tuning.measure import apart

pytestmark = pytest.mark.slow


def too_small(adapter: DiffusionAdapter, *, even_for_tiles: bool = False) -> list[bool]:
    """Have the decoder run out of memory for a whole clip; answers which were tried by tiles."""
    import torch

    vae, tried = adapter.pipe.vae, []
    decode = vae.decode

    def limited(*args: Any, **kwargs: Any) -> Any:
        tried.append(vae.use_tiling)
        if even_for_tiles or not vae.use_tiling:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(*args, **kwargs)

    vae.decode = limited
    return tried


def test_a_clip_that_does_not_fit_is_decoded_once_more_by_tiles_with_the_same_noise(
    checkpoint: Callable[[str], Path],
) -> None:
    small = loaded("ltx-2b", checkpoint("ltx-2b"), profile=Profile.SMALL)
    adapter = loaded("ltx-2b", checkpoint("ltx-2b"))
    tried = too_small(adapter)

    frames = render(adapter)

    assert tried == [False, True]
    assert adapter.made_with["decode"] == "tiles"
    assert np.array_equal(frames, render(small))


def test_what_is_no_smaller_is_not_tried_whole_again(checkpoint: Callable[[str], Path]) -> None:
    adapter = loaded("ltx-2b", checkpoint("ltx-2b"))
    tried = too_small(adapter)
    render(adapter)
    del tried[:]

    render(adapter, seed=8)
    render(adapter, num_frames=9)

    assert tried == [True, False, True]


def test_a_clip_that_does_not_fit_by_tiles_either_is_said_not_to_fit(
    checkpoint: Callable[[str], Path],
) -> None:
    adapter = loaded("ltx-2b", checkpoint("ltx-2b"))
    tried = too_small(adapter, even_for_tiles=True)

    with pytest.raises(AttemptFailed, match="fewer frames or a smaller size") as no:
        render(adapter)

    assert no.value.kind is FailureKind.OOM
    assert tried == [False, True]
    assert not adapter.pipe.vae.use_tiling


def test_another_failure_of_the_decoder_is_not_tried_again(
    checkpoint: Callable[[str], Path],
) -> None:
    adapter = loaded("ltx-2b", checkpoint("ltx-2b"))
    tried = []

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        tried.append(1)
        raise RuntimeError("cuDNN")

    adapter.pipe.vae.decode = broken

    with pytest.raises(RuntimeError, match="cuDNN"):
        render(adapter)

    assert tried == [1]


def test_tiles_are_blended_where_they_meet_and_the_same_elsewhere(
    checkpoint: Callable[[str], Path],
) -> None:
    """LTX-Video's tiles are 512 pixels, a new one every 448: here the seam is from 448 to 512."""
    adapter = loaded("ltx-2b", checkpoint("ltx-2b"))
    whole = render(adapter, width=768)

    adapter.load(Profile.SMALL)
    tiled = render(adapter, width=768)

    # From the seam as far as the convolutions of the decoder reach.
    for far in (slice(0, 288), slice(672, 768)):
        assert apart([f[:, far] for f in tiled], [f[:, far] for f in whole])[0] <= 1
    # Random weights make of a seam what they can; those of another seed are 30 levels apart.
    assert 0 < apart(tiled, whole)[1] < 3


@pytest.mark.parametrize("model", ["ltx-2b", "wan2.2-5b"])
def test_another_layout_of_the_decoder_changes_no_more_than_rounding(
    checkpoint: Callable[[str], Path], model: str
) -> None:
    import torch

    plain = render(loaded(model, checkpoint(model)))

    adapter = loaded(model, checkpoint(model), Tuning(vae_channels_last=True))

    convolutions = [m for m in adapter.pipe.vae.modules() if isinstance(m, torch.nn.Conv3d)]
    assert all(
        conv.weight.is_contiguous(memory_format=torch.channels_last_3d) for conv in convolutions
    )
    assert apart(render(adapter), plain)[0] <= 1
    assert adapter.made_with["vae"] == "float32 channels-last"


def test_a_decoder_in_bfloat16_is_a_few_levels_away(checkpoint: Callable[[str], Path]) -> None:
    import torch

    adapter = loaded("wan2.2-5b", checkpoint("wan2.2-5b"))
    plain = render(adapter)
    prepare_vae(adapter.pipe.vae, Tuning(vae_dtype="bfloat16"), torch.bfloat16)

    most, mean = apart(render(adapter), plain)

    assert adapter.pipe.vae.dtype is torch.bfloat16
    assert 0 < most <= 8
    assert mean < 1


def test_the_decoder_keeps_its_precision_where_the_transformer_has_none_smaller(
    checkpoint: Callable[[str], Path],
) -> None:
    import torch

    adapter = loaded("wan2.2-5b", checkpoint("wan2.2-5b"))

    prepare_vae(adapter.pipe.vae, Tuning(vae_dtype="bfloat16"), torch.float32)

    assert adapter.pipe.vae.dtype is torch.float32
