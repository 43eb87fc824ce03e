"""Weights in eight bits take less room, stay near, and are refused where they cannot be had."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.models.tuning import Quantize, Tuning
from tests.workers.models import loaded, render
from tests.workers.tuning.measure import apart

pytestmark = pytest.mark.slow


def block_bytes(transformer: Any) -> int:
    """What the linear layers of the blocks hold, quantized tensors by their parts."""
    import torch

    def held(tensor: Any) -> int:
        if hasattr(tensor, "__tensor_flatten__"):
            return sum(held(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
        return int(tensor.nbytes)

    return sum(
        held(module.weight)
        for path, module in transformer.named_modules()
        if "blocks." in path and isinstance(module, torch.nn.Linear)
    )


@pytest.mark.parametrize("model", ["ltx-2b", "wan2.2-5b", "hunyuan"])
@pytest.mark.parametrize(
    ("how", "most", "mean"),
    [("int8-weights", 2, 0.1), ("float8-weights", 8, 0.5), ("float8-storage", 8, 0.5)],
)
def test_weights_in_eight_bits_take_less_room_and_move_a_clip_by_a_few_levels(
    checkpoint: Callable[[str], Path], model: str, how: Quantize, most: int, mean: float
) -> None:
    plain = loaded(model, checkpoint(model))
    frames = render(plain)

    adapter = loaded(model, checkpoint(model), Tuning(quantize=how))

    found = apart(render(adapter), frames)
    assert 0 < found[0] <= most
    assert found[1] < mean
    # From 32 bits to 8, and a scale for every row of these small layers. What makes scales and
    # shifts of the time is not stored in float8, and is half of the tiny HunyuanVideo.
    share = 0.6 if how == "float8-storage" else 0.4
    assert block_bytes(adapter.pipe.transformer) < share * block_bytes(plain.pipe.transformer)
    assert adapter.made_with["quantize"] == how


@pytest.mark.parametrize("model", ["ltx-2b", "mochi"])
def test_multiplying_in_float8_is_refused_on_a_cpu(
    checkpoint: Callable[[str], Path], model: str
) -> None:
    with pytest.raises(AttemptFailed, match=r"RUSHES_QUANTIZE=float8 .*Ada or Hopper") as no:
        loaded(model, checkpoint(model), Tuning(quantize="float8"))

    assert (no.value.kind, no.value.code) == (FailureKind.INTERNAL, "setting_unavailable")


def test_without_torchao_the_refusal_says_what_installs_it(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)

    with pytest.raises(AttemptFailed, match="`make quantize` installs it"):
        loaded("ltx-2b", checkpoint("ltx-2b"), Tuning(quantize="int8-weights"))
