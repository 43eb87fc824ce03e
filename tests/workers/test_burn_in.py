"""Captions on frames: inside the safe area, when they are shown, in every script."""

from collections.abc import Iterator

import numpy as np
import pytest

from service.media.captions import Cue, cues, spread_words
from service.workers.adapters.base import Frame
from service.workers.adapters.slate_art import fonts, runs
from service.workers.burn_in import BurnIn, missing_scripts

SCRIPTS = {
    "Latin": "The quick brown fox jumps over the lazy dog.",
    "accents": "Zażółć gęślą jaźń, señor Åström!",
    "Cyrillic": "Съешь же ещё этих мягких французских булок.",
    "Han": "私は今日とても元気です。明日は東京に行きます。",
    "Arabic": "مرحبا بالعالم، كيف حالك اليوم؟",
    "Hebrew": "שלום עולם, מה שלומך היום?",
    "Devanagari": "नमस्ते दुनिया, आप कैसे हैं?",
    "Thai": "สวัสดีชาวโลก วันนี้เป็นอย่างไร",
    "emoji": "Well done 🎉 everybody",
}
SIZES = [(512, 512), (1280, 720), (720, 1280), (320, 180), (96, 64)]


def frame(width: int, height: int) -> Frame:
    return np.full((height, width, 3), 200, np.uint8)


def changed(text: str, width: int, height: int) -> tuple[Frame, np.ndarray]:
    """The frame with the text in the middle of its time, and which pixels it changed."""
    drawn = frame(width, height)
    found = cues(spread_words(text, 4.0))
    BurnIn(found, width, height).draw_on(drawn, found[0].start + 0.1)
    return drawn, (drawn != 200).any(axis=2)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_caption_stays_inside_the_safe_area(script: str, size: tuple[int, int]) -> None:
    width, height = size

    drawn, mask = changed(SCRIPTS[script], width, height)

    down, across = np.nonzero(mask)
    assert down.min() >= int(height * 0.05)
    assert down.max() < np.ceil(height * 0.95)
    assert across.min() >= int(width * 0.05)
    assert across.max() < np.ceil(width * 0.95)
    assert drawn.max() > 220  # the text: thin letters are not quite white
    assert drawn[mask].min() < 100  # the box


def test_a_caption_is_centred() -> None:
    _, mask = changed("Hello there.", 640, 360)

    across = np.nonzero(mask.any(axis=0))[0]
    assert across.min() == pytest.approx(639 - across.max(), abs=1)


def test_a_caption_is_shown_from_its_start_to_its_end() -> None:
    burn_in = BurnIn(
        [Cue(("One",), 1.0, 2.0), Cue(("Two",), 2.0, 3.0), Cue(("1",), 5, 6)], 320, 180
    )
    frames = {}
    for seconds in (0.0, 0.999, 1.0, 1.999, 2.0, 3.0, 4.9, 5.0, 6.0):
        drawn = frame(320, 180)
        burn_in.draw_on(drawn, seconds)
        frames[seconds] = drawn.tobytes()

    plain = frame(320, 180).tobytes()
    assert [seconds for seconds, drawn in frames.items() if drawn != plain] == [
        1.0,
        1.999,
        2.0,
        5.0,
    ]
    assert frames[1.0] == frames[1.999]
    assert len({frames[1.0], frames[2.0], frames[5.0]}) == 3


def test_text_that_is_too_wide_is_wrapped_into_more_rows() -> None:
    text = ("W" * 41, "W" * 42)
    drawn = frame(400, 400)

    BurnIn([Cue(text, 0, 1)], 400, 400).draw_on(drawn, 0)

    bright = (drawn == 255).all(axis=2).any(axis=1)
    num_rows = np.count_nonzero(np.diff(bright.astype(int)) == 1)
    assert num_rows > 2


@pytest.mark.parametrize("text", ["", "\u200b", "\x00\x1b"])
def test_text_that_is_not_seen_draws_nothing_or_an_empty_box(text: str) -> None:
    drawn = frame(320, 180)

    BurnIn([Cue((text,), 0, 1)], 320, 180).draw_on(drawn, 0)

    assert drawn.max() == 200


def test_a_frame_too_small_for_text_stays_as_it_is() -> None:
    drawn = frame(16, 16)

    BurnIn([Cue(("Hello everybody",), 0, 1)], 16, 16).draw_on(drawn, 0)

    assert (drawn == 200).all()


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_common_script_has_a_font(script: str) -> None:
    assert missing_scripts([Cue((SCRIPTS[script],), 0, 1)]) == ()


def test_a_script_that_no_font_has_is_named_once() -> None:
    cuneiform = [Cue(("\U00012000\U00012001 and", "\U00012002"), 0, 1)]

    warnings = missing_scripts(cuneiform)

    assert warnings == (
        "captions: no font on this worker has the letters of Cuneiform; they are boxes",
    )


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(fonts, "_FILES", ())
    monkeypatch.setattr(fonts, "FIRST", fonts.PLAIN)
    monkeypatch.setattr(fonts, "EMOJI", 0)
    for cache in (fonts.font_of, fonts.has, runs.runs):
        cache.cache_clear()
    yield
    for cache in (fonts.font_of, fonts.has, runs.runs):
        cache.cache_clear()


@pytest.mark.usefixtures("no_fonts")
def test_without_the_fonts_the_warning_names_them() -> None:
    (warning,) = missing_scripts([Cue(("Hello שלום",), 0, 1)])

    assert warning == (
        "captions: no font on this worker has the letters of Hebrew; install the extra `fonts`"
    )
