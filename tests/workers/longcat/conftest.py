"""The double of LongCat's package on the path, tiny weights for it, and a card of small sizes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.domain.models.card import ModelCard, Resolution
from service.domain.models.catalog import LONGCAT
from tests.workers.longcat.weights import DOUBLE, build_double, on_path

SIZES = ((96, 64), (64, 96))
# The pipeline takes no smaller ones, but its table of sizes can be replaced.
SMALL = LONGCAT.model_copy(
    update={
        "resolutions": (Resolution(name="480p", sizes=SIZES),),
        "default_width": 96,
        "default_height": 64,
    }
)


@pytest.fixture(scope="session")
def card() -> ModelCard:
    return SMALL


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import torch

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("longcat")
    with on_path(DOUBLE):
        from longcat_video import pipeline_longcat_video_avatar as pipelines

        table = {f"{h / w:.2f}": ([h, w], 1) for w, h in SIZES}
        pipelines.get_bucket_config = lambda resolution, scale_factor_spatial: table
        yield build_double(folder)
