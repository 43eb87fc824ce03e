"""The sandbox model: its frames are exact, repeatable and all different, whatever is asked."""

import subprocess
import sys
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.domain.attempt import AttemptFailed, FailureKind, Stage
from service.domain.models.catalog import SLATE
from service.domain.request import MAX_SEED, VideoRequest
from service.workers.adapters.base import NO_CONDITIONS, Conditions, Frame
from service.workers.adapters.registry import make_adapter
from service.workers.adapters.slate import CYCLE, SHUT, Slate, flash, openness
from service.workers.adapters.slate_art import fonts
from service.workers.adapters.slate_art.dials import timecode
from service.workers.adapters.slate_art.layout import lay_out
from service.workers.adapters.slate_art.runs import is_rtl, runs
from service.workers.adapters.slate_art.text import elide, legible, length, paragraph

ROOT = Path(__file__).parents[2]

SIZES = [
    (64, 64),
    (66, 64),
    (96, 64),
    (64, 98),
    (256, 160),
    (322, 242),
    (768, 512),
    (704, 1280),
    (1920, 64),
    (64, 1920),
    (1920, 1920),
]

PROMPTS = [
    " ",
    "\n\n\t\r\n",
    "one line\nand another\x07\x1b[0m",
    "\U0001f3ac\U0001f468\u200d\U0001f469\u200d\U0001f467 a family of emoji",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u202eturned round",
    "\u5bcc\u58eb\u5c71\u306e\u65e5\u306e\u51fa\ud55c\uad6d\uc5b4" * 300,
    "Z\u0351\u036b\u0343a\u0300\u0301lgo" * 200,
    "\ufdfa" * 4000,
    "\ud800 half a character",
    "x" * 4000,
    "i" * 4000,
    "word " * 800,
]


def ask(**changes: Any) -> VideoRequest:
    fields: dict[str, Any] = {
        "model": "slate",
        "prompt": "A cat on a bicycle",
        "width": 128,
        "height": 96,
        "num_frames": 3,
        "fps": 24,
        "num_inference_steps": 30,
        "guidance_scale": 5.0,
        "seed": 7,
    }
    return VideoRequest.model_construct(**(fields | {"negative_prompt": None} | changes))


def ignore(stage: Stage, done: int, of: int) -> None:
    """An OnStep for tests that do not look at the steps."""


def draw(**changes: Any) -> list[Frame]:
    return list(Slate(SLATE).generate(ask(**changes), NO_CONDITIONS, ignore).frames)


def same(one: list[Frame], other: list[Frame]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_frames_have_the_size_that_was_asked_for(width: int, height: int) -> None:
    frames = draw(width=width, height=height, num_frames=2, seed=MAX_SEED, negative_prompt="fog")

    for frame in frames:
        assert frame.shape == (height, width, 3)
        assert frame.dtype == np.uint8
        assert frame.flags.c_contiguous
        assert frame.flags.owndata
    assert not np.array_equal(frames[0], frames[1])


@pytest.mark.parametrize("count", [1, 2, 9, 120])
def test_there_are_exactly_as_many_frames_as_were_asked_for(count: int) -> None:
    assert len(draw(num_frames=count)) == count


def test_the_longest_video_is_drawn_one_frame_at_a_time() -> None:
    steps: list[int] = []
    frames = (
        Slate(SLATE)
        .generate(
            ask(num_frames=7200, fps=60),
            NO_CONDITIONS,
            lambda _stage, done, _of: steps.append(done),
        )
        .frames
    )

    next(frames)

    assert steps == [1]


def test_the_same_request_gives_the_same_frames() -> None:
    assert same(draw(), draw())


def test_an_adapter_remembers_nothing_of_an_earlier_job() -> None:
    slate = Slate(SLATE)
    list(
        slate.generate(ask(prompt="something else", seed=1, width=64), NO_CONDITIONS, ignore).frames
    )

    assert same(list(slate.generate(ask(), NO_CONDITIONS, ignore).frames), draw())


@pytest.mark.parametrize("size", [64, 360])
@pytest.mark.parametrize("change", [{"seed": 8}, {"prompt": "A cat on a bicycle."}])
def test_another_seed_or_prompt_changes_every_frame(size: int, change: dict[str, Any]) -> None:
    frames, others = draw(width=size, height=size), draw(width=size, height=size, **change)

    assert not any(map(np.array_equal, frames, others))


@pytest.mark.parametrize(
    "change",
    [{"num_inference_steps": 31}, {"guidance_scale": 5.5}, {"negative_prompt": "fog"}, {"fps": 25}],
)
def test_whatever_else_is_asked_is_shown_where_there_is_room(change: dict[str, Any]) -> None:
    frame, other = (draw(width=480, height=320, num_frames=1, **more)[0] for more in ({}, change))

    assert not np.array_equal(frame, other)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (1920, 64), (64, 1920), (256, 160)])
@pytest.mark.parametrize("fps", [1, 60])
def test_no_frame_equals_its_neighbour(width: int, height: int, fps: int) -> None:
    frames = draw(width=width, height=height, fps=fps, num_frames=30)

    assert not any(np.array_equal(one, two) for one, two in pairwise(frames))


def test_a_frame_once_handed_over_is_never_drawn_on_again() -> None:
    frames = Slate(SLATE).generate(ask(), NO_CONDITIONS, ignore).frames
    first = next(frames)
    before = first.copy()

    next(frames)

    assert np.array_equal(first, before)


def test_every_frame_is_a_step_of_generating() -> None:
    steps: list[tuple[Stage, int, int]] = []

    list(Slate(SLATE).generate(ask(), NO_CONDITIONS, lambda *step: steps.append(step)).frames)

    assert steps == [(Stage.GENERATE, done, 3) for done in (1, 2, 3)]


def test_a_cancel_takes_hold_within_one_frame() -> None:
    def cancel(stage: Stage, done: int, of: int) -> None:
        if done > 3:
            raise AttemptFailed(FailureKind.CANCELED, "canceled", "the job was canceled")

    frames = Slate(SLATE).generate(ask(num_frames=100), NO_CONDITIONS, cancel).frames
    handed_over = list(islice(frames, 3))

    with pytest.raises(AttemptFailed, match="canceled"):
        next(frames)
    assert len(handed_over) == 3
    assert not list(frames)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize(("width", "height"), [(64, 64), (480, 320)])
def test_any_prompt_can_be_drawn(prompt: str, width: int, height: int) -> None:
    frames = draw(prompt=prompt, negative_prompt=prompt, width=width, height=height, num_frames=1)

    assert len(frames) == 1


@pytest.mark.parametrize("prompt", PROMPTS)
def test_text_is_wrapped_within_its_box(prompt: str) -> None:
    lines, whole = paragraph(legible(prompt), 14, 300, 4)

    assert len(lines) <= 4
    assert all(length(line, 14) <= 300 for line in lines)
    assert whole or lines[-1].endswith("…")


def test_wrapping_breaks_between_words_and_loses_none() -> None:
    text = "the quick brown fox jumps over the lazy dog"

    lines, whole = paragraph(text, 20, 120, 9)

    assert whole
    assert len(lines) > 2
    assert " ".join(lines) == text


def test_text_that_is_too_long_ends_in_an_ellipsis() -> None:
    assert elide("short", 20, 300) == "short"
    assert elide("far too long for so little room", 20, 120) == "far too long…"


def test_accents_dashes_and_line_breaks_are_made_plain() -> None:
    assert (
        legible("  Caf\u00e9\n\u2014 na\u00efve\t\u00d7 2 ")
        == "Caf\u00e9 \u2014 na\u00efve \u00d7 2"
    )


@pytest.mark.parametrize(
    ("index", "fps", "text"),
    [(0, 24, "00:00:00:00"), (23, 24, "00:00:00:23"), (24, 24, "00:00:01:00"),
     (7199, 60, "00:01:59:59"), (119, 1, "00:01:59:00"), (86_399, 24, "00:59:59:23")],
)  # fmt: skip
def test_timecode_counts_frames_seconds_and_minutes(index: int, fps: int, text: str) -> None:
    assert timecode(index, fps) == text


def test_the_stick_claps_once_in_every_cycle() -> None:
    assert openness(0) == openness(CYCLE) == openness(CYCLE - 0.01) == 1
    assert openness(SHUT) == openness(CYCLE + SHUT + 0.1) == 0
    assert flash(SHUT - 0.01) == 0
    assert flash(SHUT) == 1


def test_the_registry_makes_a_slate_that_needs_no_gpu() -> None:
    slate = make_adapter(SLATE)

    slate.load()

    assert isinstance(slate, Slate)
    assert slate.gpu is None


# What is given


def noise(*shape: int) -> Frame:
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def given(conditions: Conditions, **changes: Any) -> list[Frame]:
    return list(Slate(SLATE).generate(ask(**changes), conditions, ignore).frames)


CORNER = (slice(0, 4), slice(0, 4))  # beside the board


def test_a_picture_is_the_ground_under_the_board() -> None:
    picture = noise(96, 128, 3)

    frames = given(Conditions(image=picture))

    for frame in frames:
        assert np.array_equal(frame[CORNER], picture[CORNER])
        assert not np.array_equal(frame, picture)


def test_the_first_frame_becomes_the_last_one() -> None:
    first, last = noise(96, 128, 3), noise(96, 128, 3)[::-1].copy()

    frames = given(Conditions(image=first, last_image=last), num_frames=5)

    assert np.array_equal(frames[0][CORNER], first[CORNER])
    assert np.array_equal(frames[-1][CORNER], last[CORNER])
    halfway = (first[CORNER].astype(int) + last[CORNER]) // 2
    assert np.array_equal(frames[2][CORNER], halfway)


@pytest.mark.parametrize("num_frames", [1, 2, 24, 120])
def test_a_loop_ends_with_its_first_frame_and_moves_between(num_frames: int) -> None:
    picture = noise(96, 128, 3)
    conditions = Conditions(image=picture, last_image=picture)

    frames = given(conditions, num_frames=num_frames, loop=True)

    assert np.array_equal(frames[0], frames[-1])
    assert len({frame.tobytes() for frame in frames}) == max(1, num_frames - 1)
    steps = [np.abs(b.astype(int) - a).mean() for a, b in pairwise(frames)]
    if num_frames > 2:  # nothing jumps where it comes back
        assert steps[-1] <= max(steps[:-1])


def test_keyframes_are_seen_alone_at_their_frames_and_dissolve_between() -> None:
    first, early, late = (np.roll(noise(96, 128, 3), n, axis=0) for n in range(3))

    frames = given(Conditions(image=first, keyframes=((5, late), (2, early))), num_frames=7)

    shown = [frame[CORNER] for frame in frames]
    for index, picture in ((0, first), (2, early), (5, late), (6, late)):
        assert np.array_equal(shown[index], picture[CORNER])
    assert np.array_equal(shown[1], (first[CORNER].astype(int) + early[CORNER]) // 2)


def test_a_keyframe_alone_comes_out_of_the_drawn_background() -> None:
    picture, alone = noise(96, 128, 3), draw()

    frames = given(Conditions(keyframes=((2, picture),)))

    assert np.array_equal(frames[0], alone[0])
    assert np.array_equal(frames[2][CORNER], picture[CORNER])


def test_a_film_fades_with_the_strength() -> None:
    film = noise(3, 96, 128, 3)
    alone = draw()

    weak, strong = (given(Conditions(video=film), strength=part) for part in (0.001, 1.0))

    for index in range(3):
        assert np.array_equal(weak[index][CORNER], film[index][CORNER])
    assert same(strong, alone)


def test_a_clip_that_goes_on_begins_with_the_frames_before() -> None:
    tail = noise(2, 96, 128, 3)

    frames = given(Conditions(tail=tail))

    assert np.array_equal(frames[0], tail[0])
    assert np.array_equal(frames[1], tail[1])
    assert np.array_equal(frames[2], draw()[2])


SCRIPTS = {
    "Latin": "\u0141\u00f3d\u017a, \u0110\u00e0 N\u1eb5ng",
    "Cyrillic": "\u043a\u043e\u0442",
    "Greek": "\u03b3\u03ac\u03c4\u03b1",
    "Chinese": "\u5bcc\u58eb\u5c71",
    "Japanese": "\u306e\u30ab",
    "Korean": "\ud55c\uad6d\uc5b4",
    "Arabic": "\u0642\u0637\u0629",
    "Hebrew": "\u05d7\u05ea\u05d5\u05dc",
    "Devanagari": "\u0939\u093f\u0928\u094d\u0926\u0940",
    "Thai": "\u0e41\u0e21\u0e27",
    "Tamil": "\u0baa\u0bc2\u0ba9\u0bc8",
    "Georgian": "\u10d9\u10d0\u10e2\u10d0",
    "Ethiopic": "\u12f5\u1218\u1275",
    "emoji": "\U0001f408\U0001f6b2",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_drawn_and_not_boxes(script: str) -> None:
    text = legible(SCRIPTS[script])

    assert all(fonts.has(run.font, letter) for run in runs(text) for letter in run.text)


@pytest.mark.slow
def test_a_prompt_in_any_script_is_drawn_without_notos_fonts_too() -> None:
    """In a process of its own, which finds neither package."""
    code = f"""
import sys
sys.modules |= dict.fromkeys(("manimgx_fonts", "manimgx_fonts_cjk"))
from tests.workers.test_slate import draw
from service.workers.adapters.slate_art import fonts
from service.workers.adapters.slate_art.runs import runs
for prompt in {[*SCRIPTS.values(), *PROMPTS]!a}:
    assert len(draw(prompt=prompt, width=480, height=320, num_frames=1)) == 1
    assert all(run.font == fonts.PLAIN for run in runs(prompt))
"""

    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)})


def test_a_box_is_known_for_one() -> None:
    assert not fonts.has(fonts.PLAIN, "\u5bcc")
    assert not fonts.has(1, "\U0010fffd")


def test_a_line_from_right_to_left_keeps_the_order_of_what_runs_the_other_way() -> None:
    """A Hebrew line with two runs from left to right, the second in another font."""
    line = "\u05d7\u05ea\u05d5\u05dc abc \u5bcc, \u05d7!"

    texts = [run.text for run in runs(line)]

    assert is_rtl(line)
    assert texts.index("abc") < texts.index("\u5bcc")
    assert texts[-1].startswith("\u05d7\u05ea\u05d5\u05dc")
    assert texts[0] == "!"


def test_a_word_from_right_to_left_leaves_the_order_of_an_english_line() -> None:
    line = "abc \u05d7 def"

    assert not is_rtl(line)
    assert "".join(run.text for run in runs(line)) == line


def test_no_line_begins_with_an_accent_or_breaks_a_joined_emoji() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    lines, _ = paragraph(family * 40, 14, 100, 50)

    assert len(lines) > 2
    assert all(set(line.split(family)) == {""} for line in lines)


def test_a_segment_counts_the_frames_of_the_whole_video() -> None:
    """The second half of a video, as a segment of it, has the dials of the second half."""
    whole = draw(num_frames=8, width=480, height=320)
    part = ask(num_frames=4, width=480, height=320)

    second = list(Slate(SLATE).generate(part, Conditions(start=4, video_frames=8), ignore).frames)

    layout = lay_out(480, 320)
    dial = np.s_[layout.top + layout.dials : layout.top + layout.banner, 60:420]
    for n, frame in enumerate(second):
        assert np.array_equal(frame[dial], whole[4 + n][dial])
        assert not np.array_equal(frame[dial], whole[n][dial])
    assert np.array_equal(second[-1][-3:], whole[-1][-3:])  # the bar is full at the very end
