"""Levers that need a GPU, and what they promise there, on the tiny checkpoints in bfloat16."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.domain.attempt import AttemptFailed, Profile
from service.domain.models.tuning import Tuning
from tests.tiny import BUILD
from tests.workers.models import loaded, render
from tests.workers.tuning.measure import apart

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("gpu"),
    # The compiler's own, and torchao's.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.timeout(600),
]

COMPILED = ("ltx-2b", "wan2.2-5b-fast", "hunyuan")
# In bfloat16 two sums of the same numbers differ by more than in float32; another seed's clip is
# 25 levels away and more in the mean.
NEAR = 3.0


@pytest.mark.parametrize("model", BUILD)
def test_a_seed_gives_the_same_frames_bit_for_bit_whatever_was_rendered_between(
    checkpoint: Callable[[str], Path], model: str
) -> None:
    adapter = loaded(model, checkpoint(model), Tuning(compile="off"))

    frames = render(adapter)
    render(adapter, seed=8)

    assert np.array_equal(render(adapter), frames)


@pytest.mark.parametrize("model", COMPILED)
def test_compiled_blocks_are_chosen_draw_nearly_the_same_and_are_stable(
    checkpoint: Callable[[str], Path], model: str
) -> None:
    import torch

    eager = render(loaded(model, checkpoint(model), Tuning(compile="off")))
    adapter = loaded(model, checkpoint(model))

    frames = render(adapter)

    if torch.cuda.get_device_capability() >= (8, 0):
        assert adapter.made_with["compile"] == "on"
    assert apart(frames, eager)[1] < NEAR
    assert np.array_equal(render(adapter), frames)


@pytest.mark.parametrize("model", ["ltx-2b", "wan2.2-5b"])
@pytest.mark.parametrize("compile_too", [False, True])
def test_multiplying_in_float8_stays_near_or_is_refused(
    checkpoint: Callable[[str], Path], model: str, compile_too: bool
) -> None:
    import torch

    tuning = Tuning(quantize="float8", compile="auto" if compile_too else "off")
    if torch.cuda.get_device_capability() < (8, 9):
        with pytest.raises(AttemptFailed, match="Ada or Hopper"):
            loaded(model, checkpoint(model), tuning)
        return

    frames = render(loaded(model, checkpoint(model), tuning))

    plain = render(loaded(model, checkpoint(model), Tuning(compile="off")))
    assert 0 < apart(frames, plain)[1] < 2 * NEAR


@pytest.mark.parametrize("name", ["_native_flash", "_native_cudnn", "_native_efficient", "flash"])
def test_a_kernel_for_attention_draws_nearly_the_same_unless_it_is_refused_at_the_load(
    checkpoint: Callable[[str], Path], name: str
) -> None:
    tuning = Tuning(compile="off", attention=name)
    try:
        adapter = loaded("ltx-2b", checkpoint("ltx-2b"), tuning)
    except AttemptFailed as no:
        pytest.skip(no.message)

    plain = render(loaded("ltx-2b", checkpoint("ltx-2b"), Tuning(compile="off")))
    assert apart(render(adapter), plain)[1] < NEAR


@pytest.mark.parametrize("model", BUILD)
def test_the_parts_of_a_small_profile_rest_in_the_main_memory_and_draw_the_same(
    checkpoint: Callable[[str], Path], model: str
) -> None:
    adapter = loaded(model, checkpoint(model), Tuning(compile="off", embeddings_bytes=0))
    frames = render(adapter)
    assert places(adapter.pipe) == {"cuda"}

    adapter.load(Profile.SMALL)
    small = render(adapter)

    assert adapter.made_with["memory"] == "part by part"
    assert places(adapter.pipe) == {"cpu"}
    assert apart(small, frames)[1] < NEAR
    adapter.load()
    assert np.array_equal(render(adapter), frames)
    assert adapter.made_with["memory"] == "whole"


def places(pipe: Any) -> set[str]:
    """Where the weights of a pipeline are between two clips."""
    import torch

    models = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    return {weight.device.type for model in models for weight in model.parameters()}


def test_a_clip_that_does_not_fit_whole_is_decoded_by_tiles(
    checkpoint: Callable[[str], Path],
) -> None:
    import torch

    adapter = loaded("ltx-2b", checkpoint("ltx-2b"), Tuning(compile="off"))
    vae: Any = adapter.pipe.vae
    decode = vae.decode

    def greedy(*args: Any, **kwargs: Any) -> Any:
        if not vae.use_tiling:
            torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
        return decode(*args, **kwargs)

    vae.decode = greedy

    frames = render(adapter)

    assert len(frames) == 17
    assert adapter.made_with["decode"] == "tiles"
