"""What every model promises, on the real diffusers classes over tiny random checkpoints."""

from typing import Any, get_args

import numpy as np
import pytest

from service.domain.attempt import AttemptFailed, FailureKind, Stage
from service.domain.errors import Lost
from service.domain.media import Feature
from service.domain.models.catalog import CARDS
from service.workers.adapters.base import NO_CONDITIONS, Conditions, Frame
from service.workers.adapters.diffusion import DiffusionAdapter
from tests.tiny import BUILD
from tests.workers.models import (
    bytes_in_tensors,
    conditions_for,
    film,
    loaded,
    render,
    request_of,
)

pytestmark = [
    pytest.mark.slow,
    # Mochi's transformer asks for float32 in a way that a CPU need not be asked.
    pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning"),
]

CLAIMED = [(model, feature) for model in BUILD for feature in CARDS[model].features[1:]]
UNCLAIMED = [
    (model, feature)
    for model in BUILD
    for feature in get_args(Feature)
    if feature not in {*CARDS[model].features, "speech", "reference-image"}  # of avatars
]
GUIDED = [model for model in BUILD if CARDS[model].negative_prompt]


class Models:
    """Each model is loaded, and its plain clip rendered, when a test first asks for it."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._loaded: dict[str, DiffusionAdapter] = {}
        self._frames: dict[str, list[Frame]] = {}

    def adapter(self, model: str) -> DiffusionAdapter:
        if model not in self._loaded:
            folder = BUILD[model](self._folders.mktemp(model))
            self._loaded[model] = loaded(model, folder)
        return self._loaded[model]

    def frames(self, model: str) -> list[Frame]:
        """Read-only for all tests."""
        if model not in self._frames:
            self._frames[model] = render(self.adapter(model))
        return self._frames[model]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory)


def test_every_card_of_videos_but_the_sandbox_s_has_a_tiny_checkpoint() -> None:
    videos = {name for name, card in CARDS.items() if card.weights and card.kind == "video"}

    assert BUILD.keys() == videos


@pytest.mark.parametrize("model", BUILD)
def test_a_clip_has_exactly_the_frames_and_the_size_that_were_asked(
    models: Models, model: str
) -> None:
    frames = models.frames(model)

    assert [frame.shape for frame in frames] == [(64, 96, 3)] * request_of(model).num_frames
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
    assert all(frame.flags.c_contiguous for frame in frames)
    assert len({frame.tobytes() for frame in frames}) > 1


@pytest.mark.parametrize("model", BUILD)
def test_the_same_request_gives_the_same_frames_and_another_gives_others(
    models: Models, model: str
) -> None:
    adapter, frames = models.adapter(model), models.frames(model)

    assert np.array_equal(render(adapter), frames)
    assert not np.array_equal(render(adapter, seed=8), frames)
    assert not np.array_equal(render(adapter, prompt="snow over a city, at night"), frames)


@pytest.mark.parametrize("model", GUIDED)
def test_guidance_and_what_to_avoid_have_an_effect(models: Models, model: str) -> None:
    adapter, frames = models.adapter(model), models.frames(model)

    assert not np.array_equal(render(adapter, negative_prompt="fog, rain"), frames)
    assert not np.array_equal(render(adapter, guidance_scale=2.0), frames)
    assert not np.array_equal(render(adapter, num_inference_steps=5), frames)


@pytest.mark.parametrize(("model", "feature"), [(m, "text-to-video") for m in BUILD] + CLAIMED)
def test_every_step_is_told_and_then_the_decoding(models: Models, model: str, feature: str) -> None:
    reports: list[tuple[Stage, int, int]] = []

    def tell(stage: Stage, done: int, of: int) -> None:
        reports.append((stage, done, of))

    render(models.adapter(model), conditions_for(feature, request_of(model)), tell)

    of = len(reports) - 2
    steps = [(Stage.GENERATE, step, of) for step in range(1, of + 1)]
    assert reports == [*steps, (Stage.DECODE, 0, 1), (Stage.DECODE, 1, 1)]
    if feature != "video-to-video":
        assert of == request_of(model).num_inference_steps


@pytest.mark.parametrize("model", BUILD)
@pytest.mark.parametrize("at", [(Stage.GENERATE, 2), (Stage.DECODE, 0)])
def test_a_cancel_leaves_within_the_step_and_leaves_nothing_behind(
    models: Models, model: str, at: tuple[Stage, int]
) -> None:
    adapter, frames = models.adapter(model), models.frames(model)
    reports: list[tuple[Stage, int]] = []

    def cancel(stage: Stage, done: int, of: int) -> None:
        reports.append((stage, done))
        if (stage, done) == at:
            raise Lost

    # Some schedulers keep the last steps of a clip, until the next one.
    with pytest.raises(Lost):
        render(adapter, on_step=cancel)
    before = bytes_in_tensors()
    with pytest.raises(Lost):
        render(adapter, on_step=cancel)

    assert bytes_in_tensors() <= before
    assert reports[-1] == at
    assert np.array_equal(render(adapter), frames)


@pytest.mark.parametrize("model", BUILD)
@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_prompt_that_does_not_fit_is_refused_with_the_number_of_its_tokens(
    models: Models, model: str, field: str
) -> None:
    adapter = models.adapter(model)
    long = "many words " * adapter.max_tokens

    with pytest.raises(AttemptFailed, match=f"at most {adapter.max_tokens}; shorten") as no:
        render(adapter, **{field: long})

    assert f"{adapter.tokens(long)} tokens long" in no.value.message
    assert (no.value.kind, no.value.code) == (FailureKind.USER, "prompt_too_long")


@pytest.mark.parametrize("model", BUILD)
@pytest.mark.parametrize(("field", "value"), [("num_frames", 12), ("width", 100), ("height", 70)])
def test_what_a_pipeline_would_round_in_silence_is_refused(
    models: Models, model: str, field: str, value: int
) -> None:
    with pytest.raises(AttemptFailed, match=f"cannot make {value} .*nearest: ") as no:
        render(models.adapter(model), **{field: value})

    assert no.value.kind is FailureKind.USER


@pytest.mark.parametrize(("model", "feature"), CLAIMED)
def test_what_is_followed_shows(models: Models, model: str, feature: str) -> None:
    adapter, request = models.adapter(model), request_of(model)

    one, other = (render(adapter, conditions_for(feature, request, seed)) for seed in (0, 5))

    assert [frame.shape for frame in one] == [(64, 96, 3)] * request.num_frames
    assert not np.array_equal(one[-1], models.frames(model)[-1])
    assert not np.array_equal(one[-1], other[-1])


@pytest.mark.parametrize("model", [m for m, feature in CLAIMED if feature == "video-to-video"])
def test_a_greater_strength_takes_more_steps_and_gives_another_clip(
    models: Models, model: str
) -> None:
    adapter = models.adapter(model)
    conditions = conditions_for("video-to-video", request_of(model))
    steps = [
        adapter.steps(request_of(model, strength=strength), conditions)
        for strength in (0.3, 0.6, 1.0)
    ]

    made = [render(adapter, conditions, strength=strength) for strength in (0.3, 0.6)]

    assert steps == sorted(steps)
    assert steps[0] < steps[-1]
    assert not np.array_equal(made[0], made[1])


@pytest.mark.parametrize(("model", "feature"), UNCLAIMED)
def test_what_a_model_does_not_do_is_refused(models: Models, model: str, feature: str) -> None:
    with pytest.raises(AttemptFailed, match=f"{model} does not support {feature}") as no:
        render(models.adapter(model), conditions_for(feature, request_of(model)))

    assert (no.value.kind, no.value.code) == (FailureKind.USER, "not_supported")


def wrong_conditions() -> list[Any]:
    pictures = film(17)
    return [
        (Conditions(image=pictures[0], tail=pictures[:9]), "continuation and image-to-video"),
        (Conditions(image=pictures[0], video=pictures), "exclude each other"),
        (Conditions(last_image=pictures[0], video=pictures), "exclude each other"),
        (Conditions(keyframes=((8, pictures[0]),), video=pictures), "exclude each other"),
        (Conditions(keyframes=((9, pictures[0]),)), "an image at frame 9"),
        (Conditions(keyframes=((24, pictures[0]),)), "an image at frame 24"),
        (Conditions(keyframes=((8, pictures[0, :32]),)), "not have the size of the clip"),
        (Conditions(image=pictures[0, :32]), "not have the size of the clip"),
        (Conditions(video=pictures[:9]), "9 frames cannot become 17"),
        (Conditions(tail=pictures[:8]), r"1 or 8n \+ 1.* not 8"),
        (Conditions(tail=pictures), "fewer than it generates, not 17"),
    ]


@pytest.mark.parametrize(("conditions", "words"), wrong_conditions())
def test_conditions_that_cannot_be_followed_together_are_refused(
    models: Models, conditions: Conditions, words: str
) -> None:
    with pytest.raises(AttemptFailed, match=words):
        render(models.adapter("ltx-2b"), conditions)


def test_nothing_is_made_before_the_first_frame_is_asked_for(models: Models) -> None:
    reports: list[Stage] = []

    clip = models.adapter("ltx-2b").generate(
        request_of("ltx-2b"), NO_CONDITIONS, lambda stage, done, of: reports.append(stage)
    )

    assert reports == []
    next(clip.frames)
    assert reports[-1] is Stage.DECODE
