"""Every model in every mode that it has: the real diffusers class on a tiny random checkpoint,
through the whole service."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.domain.models.catalog import CARDS
from service.workers.adapters.base import Frame
from service.workers.stages.encode import encode
from service.workers.stages.mp4_index import read_index
from tests import make
from tests.journey.service import Running, running
from tests.tiny import BUILD
from tests.workers.inputs.pictures import gradient, saved
from tests.workers.longcat.weights import path_with_double
from tests.workers.models import HEIGHT, WIDTH, film
from tests.workers.test_encode import decode, probe

pytestmark = pytest.mark.slow

# A continuation is not asked for: it is how the segments of a long video are made.
MODES = [
    (model, mode)
    for model, card in CARDS.items()
    for mode in card.features
    if card.kind == "video" and mode != "continuation"
]


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
        patch.setenv("PYTHONPATH", path_with_double())  # without its code longcat is not served
        with running(
            folder,
            models=list(CARDS),
            weights=weights,
            accept_licences=["Tencent Hunyuan Community"],
        ) as found:
            yield found


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A film to go over, longer than any clip here."""
    request = make.request(width=WIDTH, height=HEIGHT, num_frames=33, fps=24)
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    encode(iter(film(request.num_frames)), request, path, {})
    return base64.b64encode(path.read_bytes()).decode()


def given(mode: str, moving: str, step: int) -> dict[str, Any]:
    """What a job of this mode is to follow."""
    first = base64.b64encode(saved(gradient(size=(WIDTH, HEIGHT)), "PNG")).decode()
    turned = gradient(size=(WIDTH, HEIGHT)).transpose(Image.Transpose.ROTATE_180)
    last = base64.b64encode(saved(turned, "PNG")).decode()
    return {
        "text-to-video": {},
        "image-to-video": {"image": first},
        "last-image": {"image": first, "last_image": last},
        "keyframes": {"keyframes": [{"frame": step, "image": last}]},
        "video-to-video": {"video": moving},
    }[mode]


def last_frame(job: dict[str, Any]) -> Frame:
    """As the model made it: what ffmpeg makes of equal frames need not be equal."""
    content = httpx.get(job["result"]["last_frame_url"]).content
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(("model", "mode"), MODES)
def test_every_model_in_every_mode_makes_exactly_what_was_asked(
    service: Running, moving: str, model: str, mode: str, tmp_path: Path
) -> None:
    card = CARDS[model]
    frames = card.frames.low + 2 * card.frames.step
    ask = {
        "model": model,
        "width": WIDTH,
        "height": HEIGHT,
        "num_frames": frames,
        "num_inference_steps": card.steps.low,
        "seed": 3,
        **given(mode, moving, card.frames.step),
    }
    others = ({}, {"seed": 4}, {"prompt": "snow over a city, at night"})

    jobs = [service.submit(**ask), *(service.submit(**{**ask, **other}) for other in others)]
    made = [service.wait(job["id"], seconds=240) for job in jobs]

    for job in made:
        assert job["status"] == "succeeded", f"{job}\n{service.log()}"
        assert (job["model"], job["sandbox"]) == (model, card.sandbox)
    video = tmp_path / "video.mp4"
    video.write_bytes(httpx.get(made[0]["result"]["video_url"]).content)
    request = make.request(width=WIDTH, height=HEIGHT, num_frames=frames)
    assert len(decode(video, request)) == frames  # ffmpeg's own count of pictures of that size
    assert f"{WIDTH}x{HEIGHT}, " in probe(video) or f"{WIDTH}x{HEIGHT} [" in probe(video)
    (track,) = read_index(video).tracks
    assert track.duration * card.default_fps == frames * track.timescale
    same, again, other_seed, other_prompt = map(last_frame, made)
    assert np.array_equal(same, again)
    assert not np.array_equal(same, other_seed)
    assert not np.array_equal(same, other_prompt)


LOOPING = [name for name, card in CARDS.items() if "last-image" in card.features]


@pytest.mark.parametrize("model", LOOPING)
def test_a_loop_follows_its_image_at_both_ends(service: Running, moving: str, model: str) -> None:
    card = CARDS[model]
    image = given("image-to-video", moving, card.frames.step)["image"]
    ask = {
        "model": model,
        "width": WIDTH,
        "height": HEIGHT,
        "num_frames": card.frames.low + 2 * card.frames.step,
        "num_inference_steps": card.steps.low,
        "seed": 3,
        "image": image,
    }
    asks = ({"loop": True}, {"last_image": image}, {})

    jobs = [service.submit(**ask, **more) for more in asks]
    loop, same_ends, open_end = (service.wait(job["id"], seconds=240) for job in jobs)

    seam = loop["result"]["loop_seam"]
    assert same_ends["result"]["loop_seam"] is None
    if card.sandbox:
        assert seam["difference"] < 3  # of the encoder
    else:  # weights of noise follow nothing: what the model is told is what counts
        assert seam["difference"] > 0
        assert np.array_equal(last_frame(loop), last_frame(same_ends))
        assert not np.array_equal(last_frame(loop), last_frame(open_end))


def test_a_prompt_that_no_model_reads_fails_in_plain_words(service: Running) -> None:
    job = service.submit(
        model="hunyuan-1.5", prompt="ball " * 790, width=96, height=64, num_frames=5
    )

    failed = service.wait(job["id"], seconds=240)

    assert failed["status"] == "failed"
    assert (failed["error"]["kind"], failed["error"]["code"]) == ("user", "prompt_too_long")


def test_the_licences_are_told(service: Running) -> None:
    listed = {model["id"]: model for model in service.client.get("/v1/models").json()["data"]}

    assert listed.keys() == CARDS.keys()
    assert listed["hunyuan"]["licence"]["excluded_regions"] == ["EU", "GB", "KR"]
    assert "below $10 M" in listed["ltx-2b"]["licence"]["limits"][0]
    assert listed["wan2.2-5b"]["licence"]["name"] == "Apache-2.0"
    assert "image-to-video" in listed["wan2.2-5b"]["features"]
