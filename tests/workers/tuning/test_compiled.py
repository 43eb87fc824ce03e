"""Compiled blocks draw what eager ones draw; too many shapes and broken compilers cost no clip."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.domain.models.tuning import Switch, Tuning
from service.workers.tuning.compiled import CompiledModule, compile_blocks, off_reason
from tests.workers.models import loaded, render
from tests.workers.tuning.measure import apart

pytestmark = pytest.mark.slow

ON = Tuning(compile="on", compiled_shapes=1)


# Its compiler, in processes of its own, and its own use of itself.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.timeout(600)
def test_a_compiled_model_draws_the_same_and_runs_eager_past_the_shapes_it_may_compile(
    checkpoint: Callable[[str], Path],
) -> None:
    eager = loaded("ltx-2b", checkpoint("ltx-2b"))
    adapter = loaded("ltx-2b", checkpoint("ltx-2b"), ON)

    first, how_first = render(adapter), adapter.made_with["compile"]
    other, how_other = render(adapter, num_frames=9), adapter.made_with["compile"]
    again, how_again = render(adapter), adapter.made_with["compile"]

    assert how_first == how_again == "on"
    assert apart(first, render(eager))[0] <= 1
    assert np.array_equal(again, first)
    assert how_other == "eager: more shapes than are compiled"
    assert np.array_equal(other, render(eager, num_frames=9))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.timeout(600)
def test_a_compiled_decoder_draws_the_same(checkpoint: Callable[[str], Path]) -> None:
    eager = render(loaded("ltx-2b", checkpoint("ltx-2b"), Tuning(compile="off")))
    tuning = Tuning(compile="on", compile_decoder=True, compiled_shapes=1)
    adapter = loaded("ltx-2b", checkpoint("ltx-2b"), tuning)

    frames = render(adapter)

    assert adapter.made_with["decode"] == "whole, compiled: on"
    assert apart(frames, eager)[0] <= 1
    assert np.array_equal(render(adapter), frames)


def stubborn() -> Any:
    """A transformer that torch cannot compile whole."""
    import torch
    from diffusers import ConfigMixin, ModelMixin

    class StubbornBlock(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            torch._dynamo.graph_break()
            return 2 * x

    class Stubborn(ModelMixin, ConfigMixin):  # type: ignore[misc]
        config_name = "config.json"
        _repeated_blocks = ["StubbornBlock"]  # noqa: RUF012

        def __init__(self) -> None:
            super().__init__()
            self.block = StubbornBlock()

        def forward(self, x: Any) -> Any:
            if float(x[0]) < 0:
                raise ValueError("negative")
            return self.block(x)

    return Stubborn()


def test_a_compiler_that_fails_costs_no_clip() -> None:
    import torch

    transformer = stubborn()
    compiled = CompiledModule(transformer, 2, compile_blocks)

    made = [transformer(torch.ones(n)) for n in (2, 3)]

    assert [x.tolist() for x in made] == [[2, 2], [2, 2, 2]]
    assert compiled.last == "failed, eager"


def test_a_failure_of_the_model_s_own_is_not_the_compiler_s() -> None:
    import torch

    transformer = stubborn()
    compiled = CompiledModule(transformer, 2, compile_blocks)

    with pytest.raises(ValueError, match="negative"):
        transformer(-torch.ones(2))

    assert compiled.last == "not yet"


@pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")
@pytest.mark.parametrize(
    ("model", "switch", "why"),
    [
        ("ltx-2b", "off", "off"),
        ("ltx-2b", "auto", "off: no CUDA GPU"),
        ("mochi", "on", "off: this model declares no repeated blocks"),
    ],
)
def test_a_model_that_is_not_compiled_says_why(
    checkpoint: Callable[[str], Path], model: str, switch: Switch, why: str
) -> None:
    adapter = loaded(model, checkpoint(model), Tuning(compile=switch))

    assert adapter.made_with["compile"] == why


@pytest.mark.parametrize("model", ["ltx-2b", "wan2.2-5b", "hunyuan", "hunyuan-1.5"])
def test_all_models_but_mochi_can_be_compiled(
    checkpoint: Callable[[str], Path], model: str
) -> None:
    import torch

    transformer = loaded(model, checkpoint(model)).pipe.transformer
    cpu = torch.device("cpu")

    assert off_reason(Tuning(compile="on"), transformer, cpu) is None
    stored = Tuning(compile="on", quantize="float8-storage")
    assert str(off_reason(stored, transformer, cpu)).startswith("off: float8-storage")
