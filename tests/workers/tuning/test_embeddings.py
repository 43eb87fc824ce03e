"""Prompts that are remembered give the very same clip, and take no more memory than was granted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.domain.models.tuning import Tuning
from service.workers.tuning.embeddings import EmbeddingCache
from tests.workers.models import loaded, render

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning"),
]


class Pipe:
    """Counts how often its text encoder is asked. A prompt of n letters takes 4 n bytes."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode_prompt(self, prompt: Any, *, max_length: int = 8) -> tuple[Any, None]:
        import torch

        self.asked.append(str(prompt))
        return torch.full((len(prompt),), float(max_length)), None


def remembering(max_bytes: int) -> tuple[Pipe, EmbeddingCache]:
    pipe, embeddings = Pipe(), EmbeddingCache(max_bytes)
    embeddings.attach(pipe)
    return pipe, embeddings


@pytest.mark.parametrize("model", ["ltx-2b-dev", "wan2.2-5b", "mochi", "hunyuan", "hunyuan-1.5"])
def test_a_prompt_that_was_read_before_gives_the_same_clip_bit_for_bit(
    checkpoint: Callable[[str], Path], model: str
) -> None:
    avoid = None if model == "hunyuan" else "fog"
    without = render(
        loaded(model, checkpoint(model), Tuning(embeddings_bytes=0)), negative_prompt=avoid
    )
    adapter = loaded(model, checkpoint(model))
    calls: list[Any] = []
    adapter.pipe.text_encoder.register_forward_hook(lambda *_: calls.append(1))

    first, first_calls = render(adapter, negative_prompt=avoid), len(calls)
    again = render(adapter, negative_prompt=avoid)

    assert len(calls) == first_calls > 0
    assert adapter.made_with["embeddings"] == "remembered"
    assert np.array_equal(first, without)
    assert np.array_equal(again, without)


def test_a_prompt_is_shared_by_all_pipelines_of_one_kind_and_not_by_others() -> None:
    class Other(Pipe): ...

    embeddings = EmbeddingCache(1000)
    pipes = [Pipe(), Pipe(), Other()]
    for pipe in pipes:
        embeddings.attach(pipe)

    for pipe in pipes:
        pipe.encode_prompt("ball")

    assert [pipe.asked for pipe in pipes] == [["ball"], [], ["ball"]]


def test_everything_that_is_told_makes_a_difference() -> None:
    pipe, _ = remembering(1000)

    short, long = (pipe.encode_prompt("ball", max_length=n)[0] for n in (8, 9))
    pipe.encode_prompt(["ball"])

    assert (float(short[0]), float(long[0])) == (8, 9)
    assert len(pipe.asked) == 3


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    pipe, embeddings = remembering(4 * 8)

    for prompt in ("ball", "cube", "ball", "rain", "ball", "cube"):
        pipe.encode_prompt(prompt)

    assert pipe.asked == ["ball", "cube", "rain", "cube"]
    assert embeddings.bytes == 4 * 8


def test_a_prompt_larger_than_all_that_is_granted_drives_nothing_out() -> None:
    pipe, _ = remembering(4 * 8)

    for prompt in ("ball", "a very long prompt", "a very long prompt", "ball"):
        pipe.encode_prompt(prompt)

    assert pipe.asked == ["ball", "a very long prompt", "a very long prompt"]


def test_what_a_pipeline_does_to_its_embeddings_stays_its_own() -> None:
    pipe, _ = remembering(1000)

    for _ in range(2):
        pipe.encode_prompt("ball")[0].zero_()

    assert float(pipe.encode_prompt("ball")[0][0]) == 8


def test_embeddings_that_somebody_has_already_are_passed_through() -> None:
    import torch

    pipe, embeddings = remembering(1000)

    for _ in range(2):
        pipe.encode_prompt(torch.zeros(3))

    assert len(pipe.asked) == 2
    assert embeddings.bytes == 0
