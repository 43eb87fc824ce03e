"""The size and the prompt of an avatar, by the card of its model."""

import re
from pathlib import Path
from typing import Any

import pytest

from service.domain.avatar import AvatarParams, AvatarRequest
from service.domain.errors import RequestRefused
from service.domain.media import MediaRef
from service.domain.models.card import ModelCard, Resolution
from service.domain.models.catalog import LONGCAT, PUPPET, SLATE
from service.domain.price import MODAL_USD_PER_SECOND
from service.domain.resolve.avatars import resolve_avatar

SMALL = ((832, 480), (640, 640), (480, 832))
LARGE = ((1248, 736), (960, 960), (736, 1248))
# A model that makes listed sizes alone, with a photo or without.
LISTED = PUPPET.model_copy(
    update={
        "name": "listed",
        "bends_photo": False,
        "only_resolutions": True,
        "default_width": 832,
        "default_height": 480,
        "default_prompt": "A person talks.",
        "default_steps": 8,
        "resolutions": (
            Resolution(name="480p", sizes=SMALL),
            Resolution(name="720p", sizes=LARGE),
        ),
    }
)


def made(card: ModelCard, photo: tuple[int, int] | None = None, **ask: Any) -> AvatarRequest:
    media = {}
    if photo is not None:
        media["reference_image"] = MediaRef(source="upload", width=photo[0], height=photo[1])
    params = AvatarParams(**{"text": "Hello.", **ask})
    return resolve_avatar(params, card, seed=0, media=media)


def size(card: ModelCard, photo: tuple[int, int] | None = None, **ask: Any) -> tuple[int, int]:
    request = made(card, photo, **ask)
    return request.width, request.height


def refusal(card: ModelCard, **ask: Any) -> dict[str, str]:
    with pytest.raises(RequestRefused) as caught:
        made(card, (800, 800), **ask)
    return {error.pointer: error.detail for error in caught.value.errors}


@pytest.mark.parametrize(
    ("photo", "ask", "expected"),
    [
        (None, {}, (832, 480)),
        ((3000, 3100), {}, (640, 640)),
        ((1080, 1920), {}, (480, 832)),
        ((1080, 1920), {"resolution": "720p"}, (736, 1248)),
        ((1080, 1920), {"width": 832, "height": 480}, (832, 480)),
        ((1080, 1920), {"width": 640}, (640, 640)),
        (None, {"height": 832}, (480, 832)),
        (None, {"height": 1248}, (736, 1248)),
    ],
    ids=["nothing", "square", "upright", "720p", "both", "width", "height", "height-of-720p"],
)
def test_of_listed_sizes_the_one_of_the_photo_s_shape_is_taken(
    photo: tuple[int, int] | None, ask: dict[str, Any], expected: tuple[int, int]
) -> None:
    assert size(LISTED, photo, **ask) == expected


@pytest.mark.parametrize(
    ("ask", "pointer", "says"),
    [
        ({"width": 832, "height": 490}, "/height", "cannot make 832x490, only its 6 sizes of"),
        ({"width": 832, "height": 490}, "/height", "480p and 720p; nearest: 832x480"),
        ({"width": 500, "height": 800}, "/width", "nearest: 480x832"),
        ({"width": 700}, "/width", "cannot make 700x480"),
        ({"resolution": "512p"}, "/resolution", "no 512p, but 480p and 720p; nearest: 480p"),
    ],
)
def test_a_size_that_is_not_listed_is_refused_with_the_nearest(
    ask: dict[str, Any], pointer: str, says: str
) -> None:
    assert says in refusal(LISTED, **ask)[pointer]


def test_a_model_without_a_list_makes_any_size_and_squares_by_name() -> None:
    assert size(PUPPET, (1080, 1920)) == (512, 512)
    assert size(PUPPET, (1080, 1920), width=720, height=1280) == (720, 1280)
    assert [size(PUPPET, (9, 16), resolution=name) for name in ("480p", "512p", "720p")] == [
        (480, 480),
        (512, 512),
        (720, 720),
    ]


def test_only_a_model_that_bends_a_photo_needs_one() -> None:
    assert made(LISTED).reference_image is None
    with pytest.raises(RequestRefused, match="give `reference_image`"):
        made(PUPPET)


def test_a_model_that_makes_no_avatars_says_only_that() -> None:
    assert refusal(SLATE, resolution="720p").keys() == {"/model"}


def test_the_prompt_and_the_steps_of_the_card_are_shown_in_the_request() -> None:
    assert (made(LISTED).prompt, made(LISTED).num_inference_steps) == ("A person talks.", 8)
    assert made(LISTED, prompt="She laughs.").prompt == "She laughs."
    assert made(PUPPET, (8, 8)).prompt == ""


def test_what_is_generated_as_whole_clips_is_expected_to_take_their_time() -> None:
    card = LISTED.model_copy(update={"clip_frames": 93, "overlap": 13, "full_clips": True})
    shape = {"width": 640, "height": 640}

    one, same, two = (
        card.expected_seconds(made(card, duration_seconds=frames / 25, **shape))
        for frames in (25, 93, 94)
    )

    assert one == same
    assert two - card.seconds_fixed == pytest.approx(2 * (one - card.seconds_fixed))


@pytest.mark.parametrize("cut", [{}, {"duration_seconds": 2}])
def test_a_text_that_no_voice_speaks_in_time_is_refused(cut: dict[str, Any]) -> None:
    """Also where the video is cut: its voice speaks, and is paid for, all of it."""
    detail = refusal(PUPPET, text="9 " * 2499, speed=0.7, **cut)["/text"]

    assert "more than 1161 s" in detail
    assert "600 s at most: send about 2,583 characters" in detail
    assert refusal(PUPPET, text="9 " * 1300, speed=0.7, **cut).keys() == {"/text"}
    made(PUPPET, (800, 800), text="9 " * 1290, speed=0.7, **cut)
    made(PUPPET, (800, 800), text="9 " * 1800, **cut)
    made(PUPPET, (800, 800), text="A word of it. " * 357, **cut)


def test_the_words_of_a_recording_may_be_any() -> None:
    media = {role: MediaRef(source="upload", seconds=9.0) for role in ("audio", "reference_image")}
    captions = {"format": "vtt"}
    params = AvatarParams(text="9 " * 5000, audio="a", captions=captions)

    assert resolve_avatar(params, PUPPET, seed=0, media=media).text is not None


_SIZES = {"480p": (832, 480), "720p": (960, 960)}
_DOCS = (Path(__file__).parents[2] / "docs" / "avatars.md").read_text()


@pytest.mark.parametrize("gpu", LONGCAT.gpus)
@pytest.mark.parametrize("resolution", _SIZES)
def test_the_docs_tell_the_time_and_the_cost_of_the_card(gpu: str, resolution: str) -> None:
    seconds = a_minute(LONGCAT, *_SIZES[resolution])
    seconds *= _seconds_on(gpu) / _seconds_on("H100")

    row = re.search(rf"\| {gpu}, `{resolution}` \| (\d+) minutes \| ([\d.]+) \|", _DOCS)

    assert row is not None
    assert int(row[1]) == round(seconds / 60)
    assert float(row[2]) == round(seconds * MODAL_USD_PER_SECOND[gpu], 2)


def test_the_docs_tell_the_time_that_the_puppet_is_expected_to_take() -> None:
    (seconds,) = re.findall(r"about (\d+) s of two cores, free", _DOCS)

    assert int(seconds) == round(a_minute(PUPPET, 512, 512))


def a_minute(card: ModelCard, width: int, height: int) -> float:
    asked = {"width": width, "height": height, "duration_seconds": 60}
    return card.expected_seconds(made(card, (width, height), **asked))


def _seconds_on(gpu: str) -> float:
    return next(speed.seconds for speed in LONGCAT.speeds if speed.gpu == gpu)
