"""The real shapes with random weights: a clip is made, and the card does not lie about memory."""

from pathlib import Path

import pytest

from benchmarks import clips
from benchmarks.generation import Benchmark
from benchmarks.real_models import ASSEMBLE
from service.domain.models.catalog import CARDS
from service.domain.models.tuning import Tuning

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("gpu"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.timeout(600),
]


@pytest.mark.parametrize("model", ASSEMBLE)
def test_the_default_clip_fits_into_what_the_card_says(tmp_path: Path, model: str) -> None:
    import torch

    needed = CARDS[model].gpu_memory_gb
    assert needed is not None
    if torch.cuda.mem_get_info()[1] < needed * 1e9:
        pytest.skip(f"this GPU has less than the card's {needed} GB")
    subject = Benchmark(tmp_path, tiny=False, rounds=1).subject(model)
    torch.cuda.reset_peak_memory_stats()

    with clips.loaded_adapter(subject, Tuning(compile="off")) as adapter:
        made = clips.time_clip(adapter, subject.request, tmp_path)
        assert adapter.made_with["memory"] == "whole"

    assert made.total > 0
    assert torch.cuda.max_memory_allocated() <= needed * 1e9
