"""Every model's real diffusers class on a tiny random checkpoint, through the whole service."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.domain.catalog import CARDS
from tests.journey.service import Running, running
from tests.tiny import BUILD

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("models")
    built: dict[object, Path] = {}  # one checkpoint serves all models of its kind
    for model, build in BUILD.items():
        built.setdefault(build, folder / model)
        if not built[build].exists():
            build(built[build])
    weights = {model: str(built[build]) for model, build in BUILD.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # models this small lose by sharing their work
        with running(
            folder,
            models=list(BUILD),
            weights=weights,
            accept_licences=["Tencent Hunyuan Community"],
        ) as found:
            yield found


@pytest.mark.parametrize("model", BUILD)
def test_every_model_makes_exactly_what_was_asked(service: Running, model: str) -> None:
    card = CARDS[model]
    frames = card.frames.low + card.frames.step
    job = service.submit(
        model=model,
        width=96,
        height=64,
        num_frames=frames,
        num_inference_steps=card.steps.low,
        seed=3,
    )

    done = service.wait(job["id"], seconds=240)

    assert done["status"] == "succeeded", f"{done}\n{service.log()}"
    result = done["result"]
    assert (result["width"], result["height"], result["fps"]) == (96, 64, card.default_fps)
    assert (result["num_frames"], done["sandbox"], done["model"]) == (frames, False, model)
    assert httpx.get(result["video_url"]).content[4:8] == b"ftyp"


def test_a_prompt_that_no_model_reads_fails_in_plain_words(service: Running) -> None:
    job = service.submit(
        model="hunyuan-1.5", prompt="ball " * 790, width=96, height=64, num_frames=5
    )

    failed = service.wait(job["id"], seconds=240)

    assert failed["status"] == "failed"
    assert (failed["error"]["kind"], failed["error"]["code"]) == ("user", "prompt_too_long")


def test_the_licences_are_told(service: Running) -> None:
    listed = {model["id"]: model for model in service.client.get("/v1/models").json()["data"]}

    assert listed.keys() == BUILD.keys()
    assert listed["hunyuan"]["licence"]["excluded_regions"] == ["EU", "GB", "KR"]
    assert "below $10 M" in listed["ltx-2b"]["licence"]["limits"][0]
    assert listed["wan2.2-5b"]["licence"]["name"] == "Apache-2.0"
    assert "image-to-video" in listed["wan2.2-5b"]["features"]
