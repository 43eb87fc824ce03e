"""LongCat's adapter on its authors' own code with tiny random weights, where a checkout is given.

    LONGCAT_SRC=/path/to/LongCat-Video .venv/bin/pytest tests/workers/longcat/test_source.py

It needs the packages of the extra `longcat`; torchvision and Triton, of which the code uses nothing
here, may be missing. A clip takes minutes on a CPU.
"""

import inspect
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from service.domain.models.card import ModelCard
from service.domain.models.cards.longcat import longcat_card
from service.domain.models.catalog import LONGCAT
from service.workers.adapters.base import Conditions, Frames
from service.workers.adapters.longcat import Longcat
from tests.workers.longcat.conftest import SIZES
from tests.workers.longcat.test_adapter import conditions, photo, request
from tests.workers.longcat.weights import DOUBLE, build_tiny, on_path

SOURCE = os.environ.get("LONGCAT_SRC", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not SOURCE, reason="LONGCAT_SRC names no checkout of LongCat-Video"),
    # What an older code does with newer libraries is not ours.
    pytest.mark.filterwarnings("ignore"),
]
METHODS = ("generate_at2v", "generate_ai2v", "generate_avc", "get_audio_embedding", "encode_prompt")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import diffusers  # noqa: F401 - both look for what is replaced here, and are to find nothing
    import torch
    import transformers  # noqa: F401

    torch.set_num_threads(os.cpu_count() or 1)
    with pytest.MonkeyPatch.context() as patch, on_path(Path(SOURCE)):
        if find_spec("torchvision") is None:
            patch.setitem(sys.modules, "torchvision", Absent("torchvision"))
        if find_spec("triton") is None:
            triton, language = Absent("triton"), Absent("triton.language")
            triton.language = language  # type: ignore[attr-defined]
            patch.setitem(sys.modules, "triton", triton)
            patch.setitem(sys.modules, "triton.language", language)
        from longcat_video import pipeline_longcat_video_avatar as pipelines

        table = {f"{h / w:.2f}": ([h, w], 1) for w, h in SIZES}
        patch.setattr(
            pipelines, "get_bucket_config", lambda resolution, scale_factor_spatial: table
        )
        yield build_tiny(tmp_path_factory.mktemp("tiny"))


class Absent(ModuleType):
    """A package of which the code only takes names, to decorate what is never called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *given, **_: given[0] if given and callable(given[0]) else (lambda f: f)


def rendered(adapter: Longcat, given: Conditions) -> tuple[Frames, Any]:
    clip = adapter.generate(request(), given, lambda *_: None)
    frames = np.stack(list(clip.frames))
    assert clip.anchor is not None
    return frames, clip.anchor()


def adapter_of(card: ModelCard, weights: Path) -> Longcat:
    adapter = Longcat(card, weights)
    adapter.load()
    return adapter


def test_the_double_has_the_signatures_of_the_authors() -> None:
    def signatures(folder: Path) -> dict[str, Any]:
        with on_path(folder):
            from longcat_video.pipeline_longcat_video_avatar import LongCatVideoAvatarPipeline

            return {
                name: [
                    (one.name, one.default)
                    for one in inspect.signature(
                        getattr(LongCatVideoAvatarPipeline, name)
                    ).parameters.values()
                ]
                for name in METHODS
            }

    assert signatures(DOUBLE) == signatures(Path(SOURCE))


def test_their_sizes_are_those_of_the_card() -> None:
    with on_path(Path(SOURCE)):
        from longcat_video.utils.bukcet_config import get_bucket_config

        for resolution in LONGCAT.resolutions:
            table = get_bucket_config(resolution.name, scale_factor_spatial=16)
            theirs = {(width, height) for ((height, width), _) in table.values()}
            assert theirs == set(resolution.sizes)


@pytest.mark.parametrize("with_photo", [True, False], ids=["photo", "no photo"])
def test_a_clip_and_one_that_another_process_continues(
    card: ModelCard, tiny: Path, with_photo: bool
) -> None:
    given = conditions(173, image=photo() if with_photo else None)
    adapter = adapter_of(card, tiny)

    first, anchor = rendered(adapter, given)
    again, _ = rendered(adapter, given)
    later = conditions(173, start=80, tail=first[-13:], anchor=anchor)
    second, _ = rendered(adapter, later)
    resumed, _ = rendered(adapter_of(card, tiny), later)

    assert first.shape == second.shape == (93, 64, 96, 3)
    assert np.array_equal(first, again)
    assert np.array_equal(second, resumed)
    assert not np.array_equal(first, second)


def test_eight_bits_are_read_by_the_authors_loader(card: ModelCard, tiny: Path) -> None:
    weights = longcat_card("someone/avatar", "main", "main", int8=True).weights

    frames, _ = rendered(
        adapter_of(card.model_copy(update={"weights": weights}), tiny), conditions(93)
    )

    assert frames.shape == (93, 64, 96, 3)
