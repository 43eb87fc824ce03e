"""Another kernel for self-attention, for no other attention and for no other model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.models.tuning import Tuning
from tests.workers.models import loaded, render
from tests.workers.tuning.measure import apart

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("model", ["ltx-2b", "wan2.2-5b"])
def test_another_kernel_changes_no_more_than_rounding(
    checkpoint: Callable[[str], Path], model: str
) -> None:
    plain = loaded(model, checkpoint(model))
    before = render(plain)

    adapter = loaded(model, checkpoint(model), Tuning(attention="_native_math"))
    frames = render(adapter)

    assert adapter.made_with["attention"] == "_native_math"
    # Bit for bit it is another sum: were it the same, the kernel would not have been used.
    assert not np.array_equal(frames, before)
    assert apart(frames, before)[0] <= 1
    # A model that was loaded before, or is loaded later, keeps its own.
    assert np.array_equal(render(plain), before)
    assert np.array_equal(render(loaded(model, checkpoint(model))), before)


def test_attention_with_a_mask_keeps_its_own_kernel(checkpoint: Callable[[str], Path]) -> None:
    adapter = loaded("ltx-2b", checkpoint("ltx-2b"), Tuning(attention="_native_math"))

    blocks = adapter.pipe.transformer.transformer_blocks
    assert {block.attn1.processor._attention_backend.value for block in blocks} == {"_native_math"}
    assert {block.attn2.processor._attention_backend for block in blocks} == {None}


@pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")
@pytest.mark.parametrize("model", ["mochi", "hunyuan", "hunyuan-1.5"])
def test_a_model_whose_clip_and_prompt_share_an_attention_keeps_torch_s_own_and_says_so(
    checkpoint: Callable[[str], Path], model: str
) -> None:
    plain = render(loaded(model, checkpoint(model)))

    adapter = loaded(model, checkpoint(model), Tuning(attention="_native_math"))

    assert np.array_equal(render(adapter), plain)
    assert adapter.made_with["attention"].startswith("native: ")


def test_a_kernel_that_is_installed_but_does_not_run_here_is_refused_when_the_model_is_loaded(
    checkpoint: Callable[[str], Path],
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU has it")

    with pytest.raises(AttemptFailed, match=r"_native_cudnn is not available: No viable backend"):
        loaded("ltx-2b", checkpoint("ltx-2b"), Tuning(attention="_native_cudnn"))


@pytest.mark.parametrize("model", ["ltx-2b", "hunyuan"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("flash-attention", "choose from .*sage"),
        ("sage", "sageattention"),
        ("_flash_3_hub", "kernels"),
    ],
)
def test_a_kernel_that_is_not_there_is_refused_when_the_model_is_loaded(
    checkpoint: Callable[[str], Path], model: str, name: str, why: str
) -> None:
    with pytest.raises(
        AttemptFailed, match=f"RUSHES_ATTENTION={name} is not available: .*{why}"
    ) as no:
        loaded(model, checkpoint(model), Tuning(attention=name))

    assert (no.value.kind, no.value.code) == (FailureKind.INTERNAL, "setting_unavailable")
