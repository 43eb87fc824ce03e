from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import RequestRefused
from service.domain.media import MediaRef, Role
from service.domain.models.card import ModelCard
from service.domain.models.catalog import CARDS, LTX_2B, SLATE
from service.domain.request import Keyframe, VideoParams, VideoRequest
from service.domain.resolve.resolve import resolve
from service.domain.resolve.sizing import same_shape


def refusal(card: Any, **ask: Any) -> dict[str, str]:
    """Pointer -> detail of what is refused."""
    with pytest.raises(RequestRefused) as caught:
        resolve(VideoParams(prompt="x", **ask), card, seed=0)
    return {error.pointer: error.detail for error in caught.value.errors}


def test_what_is_left_out_comes_from_the_card() -> None:
    made = resolve(VideoParams(prompt="x"), LTX_2B, seed=5)

    assert (made.width, made.height, made.fps, made.num_frames) == (768, 512, 24, 121)
    assert (made.num_inference_steps, made.guidance_scale, made.seed) == (7, 1.0, 5)


def test_a_duration_becomes_the_nearest_frame_count() -> None:
    assert resolve(VideoParams(prompt="x", duration_seconds=5.0), LTX_2B, seed=0).num_frames == 121
    assert resolve(VideoParams(prompt="x", duration_seconds=5.0), SLATE, seed=0).num_frames == 120
    assert resolve(VideoParams(prompt="x", duration_seconds=0.05), SLATE, seed=0).num_frames == 1


def test_an_impossible_frame_count_is_refused_with_both_neighbours() -> None:
    detail = refusal(LTX_2B, num_frames=120)["/num_frames"]

    assert "113" in detail
    assert "121" in detail


def test_a_width_between_two_steps_is_refused_with_both_neighbours() -> None:
    detail = refusal(LTX_2B, width=770)["/width"]

    assert "768" in detail
    assert "800" in detail


def test_every_wrong_field_is_named_at_once() -> None:
    named = refusal(LTX_2B, width=100, height=99, num_inference_steps=30, guidance_scale=7.0)

    assert set(named) == {"/width", "/height", "/num_inference_steps", "/guidance_scale"}


def test_too_many_pixels_are_refused_with_a_height_that_fits() -> None:
    assert "704" in refusal(LTX_2B, width=1280, height=1280)["/height"]


def test_too_long_a_video_is_refused_with_the_longest() -> None:
    assert "120.042 s" in refusal(LTX_2B, duration_seconds=125.0)["/duration_seconds"]
    assert "120.000 s" in refusal(SLATE, duration_seconds=121.0)["/duration_seconds"]
    assert "1200 frames" in refusal(SLATE, num_frames=1201, fps=10)["/num_frames"]


def test_a_prompt_to_avoid_is_refused_where_it_has_no_effect() -> None:
    assert "/negative_prompt" in refusal(LTX_2B, negative_prompt="fog")
    assert resolve(VideoParams(prompt="x", negative_prompt="fog"), SLATE, seed=0).negative_prompt


@given(
    card=st.sampled_from(list(CARDS.values())),
    ask=st.fixed_dictionaries(
        {},
        optional={
            "width": st.integers(1, 2500),
            "height": st.integers(1, 2500),
            "fps": st.integers(1, 240),
            "num_frames": st.integers(1, 10_000),
            "num_inference_steps": st.integers(1, 200),
            "guidance_scale": st.floats(0, 100),
        },
    ),
)
def test_what_is_accepted_is_made_as_asked_and_possible(card: Any, ask: dict[str, Any]) -> None:
    try:
        made = resolve(VideoParams(prompt="x", **ask), card, seed=0)
    except RequestRefused:
        return

    assert all(getattr(made, name) == value for name, value in ask.items())
    assert made.width in card.side
    assert made.height in card.side
    assert made.num_frames in card.frames
    assert (made.num_frames - 1) / made.fps <= card.max_seconds


KEYFRAMES = [(40, "a"), (8, "b"), (120, "c")]


def placed(*keyframes: tuple[int, str], card: ModelCard = LTX_2B, **more: Any) -> VideoRequest:
    """121 frames with these pictures on their way."""
    ask = VideoParams(
        prompt="x",
        num_frames=121,
        keyframes=[Keyframe(frame=frame, image=image) for frame, image in keyframes],
        **more,
    )
    media = {role: MediaRef(source="url", url=text) for role, text in ask.media_texts.items()}
    return resolve(ask, card, seed=1, media=media, served_cards=[card])


def test_keyframes_keep_the_order_in_which_they_were_named() -> None:
    made = placed(*KEYFRAMES)

    assert [(one.frame, one.image.url) for one in made.keyframes or ()] == KEYFRAMES
    assert [made.media[f"keyframes/{n}/image"].url for n in range(3)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("keyframes", "more", "pointer", "words"),
    [
        ([(41, "a")], {}, "/keyframes/0/frame", "in steps of 8; nearest: 40 or 48"),
        ([(8, "a"), (3, "b")], {}, "/keyframes/1/frame", "nearest: 8"),
        ([(128, "a")], {}, "/keyframes/0/frame", "128 of 121, only at 8 to 120"),
        ([(8, "a"), (8, "b")], {}, "/keyframes/1/frame", "another image for frame 8"),
        (
            [(120, "a")],
            {"image": "b", "last_image": "c"},
            "/keyframes/0/frame",
            "another image for frame 120",
        ),
        ([(8, "a")], {"video": "b"}, "/video", "not both"),
    ],
)
def test_a_keyframe_that_has_no_place_is_refused_with_the_nearest(
    keyframes: list[tuple[int, str]], more: dict[str, str], pointer: str, words: str
) -> None:
    with pytest.raises(RequestRefused) as caught:
        placed(*keyframes, **more)

    (error,) = caught.value.errors
    assert error.pointer == pointer
    assert words in error.detail


def test_keyframes_are_refused_once_by_a_model_that_follows_none() -> None:
    with pytest.raises(RequestRefused) as caught:
        placed((40, "a"), (80, "b"), card=CARDS["wan2.2-5b"])

    (error,) = caught.value.errors
    assert (error.pointer, error.code) == ("/keyframes", "not_supported")
    assert "slate, ltx-2b" in error.detail


def test_a_single_frame_has_no_way_for_a_picture_to_be_on() -> None:
    ask = VideoParams(prompt="x", num_frames=1, keyframes=[Keyframe(frame=1, image="a")])

    with pytest.raises(RequestRefused) as caught:
        resolve(ask, SLATE, seed=1, media={"keyframes/0/image": MediaRef(source="url")})

    assert caught.value.errors[0].pointer == "/keyframes"


def test_a_mode_that_no_served_model_has_names_one_that_is_not_served() -> None:
    ask = VideoParams(prompt="x", image="https://example.com/a.png")
    media: dict[Role, MediaRef] = {"image": MediaRef(source="url")}
    text_only = LTX_2B.model_copy(update={"features": ("text-to-video",)})

    with pytest.raises(RequestRefused) as caught:
        resolve(ask, text_only, seed=1, media=media, served_cards=[text_only])

    (error,) = caught.value.errors
    assert (error.pointer, error.code) == ("/image", "not_supported")
    assert "no served model does; others that do: slate" in error.detail


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from([SLATE, LTX_2B]))
def test_whatever_the_shape_there_is_a_size_that_the_model_makes(
    width: int, height: int, card: ModelCard
) -> None:
    wide, tall = same_shape(card, width, height)

    assert wide in card.side
    assert tall in card.side
    assert wide * tall <= card.max_pixels
    if 0.5 <= width / height <= 2:
        assert wide / tall == pytest.approx(width / height, rel=0.06)
        assert wide * tall == pytest.approx(card.default_width * card.default_height, rel=0.15)


def test_more_prompts_than_segments_are_refused_with_their_number() -> None:
    detail = refusal(SLATE, num_frames=1_000, prompts=["a", "b", "c"])["/prompts"]

    assert "2 segments" in detail
    assert "at most 2" in detail
    assert "one segment" in refusal(SLATE, num_frames=100, prompts=["a", "b"])["/prompts"]
    made = resolve(VideoParams(prompt="x", num_frames=1_000, prompts=["a", "b"]), SLATE, seed=0)
    assert made.prompts == ["a", "b"]


@pytest.mark.parametrize(
    ("model", "field", "value", "nearest"),
    [
        ("ltx-2b", "num_frames", 120, ("113", "121")),
        ("ltx-2b-dev", "num_frames", 258, ("257",)),
        ("ltx-13b", "height", 720, ("704", "736")),
        ("wan2.2-5b", "num_frames", 80, ("77", "81")),
        ("wan2.2-5b", "height", 720, ("704", "736")),
        ("wan2.2-5b-fast", "num_inference_steps", 4, ("3",)),
        ("wan2.2-5b-fast", "fps", 30, ("24",)),
        ("mochi", "num_frames", 100, ("97", "103")),
        ("mochi", "fps", 24, ("30",)),
        ("hunyuan", "num_frames", 128, ("125", "129")),
        ("hunyuan", "height", 540, ("528", "544")),
        ("hunyuan-1.5", "num_frames", 129, ("121",)),
        ("hunyuan-1.5", "width", 850, ("848",)),
    ],
)
def test_what_a_model_cannot_make_is_refused_with_the_nearest_that_it_can(
    model: str, field: str, value: int, nearest: tuple[str, ...]
) -> None:
    detail = refusal(CARDS[model], **{"width": 512, field: value})[f"/{field}"]

    assert all(number in detail for number in nearest)


@pytest.mark.parametrize(
    ("model", "longest"),
    [
        ("ltx-13b", "120.042 s"),
        ("wan2.2-5b", "120.042 s"),
        ("mochi", "5.433 s"),
        ("hunyuan", "5.375"),
    ],
)
def test_too_long_a_clip_is_refused_with_the_longest_that_the_model_makes(
    model: str, longest: str
) -> None:
    assert longest in refusal(CARDS[model], duration_seconds=125.0)["/duration_seconds"]


@pytest.mark.parametrize("model", ["ltx-13b", "wan2.2-5b-fast", "hunyuan"])
def test_models_without_guidance_of_their_own_refuse_what_to_avoid(model: str) -> None:
    assert "/negative_prompt" in refusal(CARDS[model], negative_prompt="fog")


def test_every_model_makes_its_own_largest_and_longest_clip() -> None:
    for card in (card for card in CARDS.values() if card.kind == "video"):
        resolve(
            VideoParams(
                prompt="x",
                width=card.default_width,
                height=card.default_height,
                num_frames=card.frames.nearest_below(int(card.max_seconds * card.default_fps)),
            ),
            card,
            seed=0,
        )


@pytest.mark.parametrize(("model", "frames"), [("ltx-2b", 2881), ("wan2.2-5b", 2881)])
def test_the_two_minutes_that_a_card_names_can_be_asked_for(model: str, frames: int) -> None:
    made = resolve(VideoParams(prompt="x", duration_seconds=120, fps=24), CARDS[model], seed=0)

    assert made.num_frames == frames
