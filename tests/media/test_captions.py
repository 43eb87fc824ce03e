"""Captions: their bounds, and their files as other programs read them."""

import html
import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.speech import Word
from service.media.captions import (
    Cue,
    Transcript,
    cues,
    cut_transcript,
    remotion_captions,
    spread_words,
    srt,
    vtt,
)

TEXT = (
    "The quick brown fox jumps over the lazy dog, and then it sleeps. Nobody knows why! But we "
    "do not mind at all; it is a <fox> & it sleeps --> always."
)
JAPANESE = "私は今日とても元気です。明日は東京に行きます、それから大阪に行きます。"


def transcript(*words: tuple[str, float, float], seconds: float | None = None) -> Transcript:
    return Transcript(tuple(Word(*word) for word in words), seconds or words[-1][2])


def text_of(found: list[Cue]) -> str:
    return " ".join(row for cue in found for row in cue.rows)


def test_words_are_spread_over_the_sound_by_their_lengths() -> None:
    spread = spread_words("A considerably longer word. End", 6.0)

    lengths = [word.end - word.start for word in spread.words]
    assert [word.text for word in spread.words] == ["A", "considerably", "longer", "word.", "End"]
    assert spread.words[0].start == 0
    assert spread.words[-1].end == pytest.approx(6.0)
    assert lengths[1] == max(lengths)
    assert spread.words[4].start - spread.words[3].end > 0.5  # the sentence's end
    assert spread.words[1].start == spread.words[0].end
    assert spread.confidence < 1


@pytest.mark.parametrize(("text", "seconds"), [("", 3.0), ("word", 0.0), ("  \n ", 1.0)])
def test_nothing_to_spread_is_no_fault(text: str, seconds: float) -> None:
    spread = spread_words(text, seconds)

    assert [word.text for word in spread.words] == text.split()
    assert vtt(cues(spread)).startswith("WEBVTT\n")


def test_cues_break_at_punctuation() -> None:
    rows = [cue.rows for cue in cues(spread_words(TEXT, 16.0))]

    assert rows[0] == ("The quick brown fox jumps over", "the lazy dog, and then it sleeps.")


def test_cues_break_at_pauses() -> None:
    found = cues(transcript(("one", 0, 0.5), ("two", 0.6, 1.2), ("three", 2.5, 3)))

    assert [cue.rows for cue in found] == [("one two",), ("three",)]


def test_a_short_cue_is_shown_for_a_second_if_there_is_room() -> None:
    found = cues(transcript(("Yes.", 0, 0.3), ("No.", 2, 2.2), ("Oh!", 2.6, 2.7), seconds=3.4))

    assert [(cue.start, cue.end) for cue in found] == [(0, 1.0), (2, 3.0)]
    alone = cues(transcript(("Yes.", 0, 0.3), seconds=0.5))
    assert [(cue.start, cue.end) for cue in alone] == [(0, 0.5)]


def test_a_word_that_is_sung_for_long_is_shown_for_seven_seconds() -> None:
    found = cues(transcript(("Ooooh", 1, 30), ("yes", 30, 31)))

    assert [(cue.start, cue.end) for cue in found] == [(1, 8), (30, 31)]


def test_a_sentence_without_spaces_is_cut_after_its_punctuation() -> None:
    found = cues(spread_words(JAPANESE, 8.0))

    rows = [row for cue in found for row in cue.rows]
    assert rows == [
        "私は今日とても元気です。",
        "明日は東京に行きます、",
        "それから大阪に行きます。",
    ]


words_of_text = st.lists(
    st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=60),
    min_size=1,
    max_size=60,
)


@settings(deadline=None)
@given(words_of_text, st.floats(0.01, 200))
def test_cues_keep_their_bounds(texts: list[str], seconds: float) -> None:
    spread = spread_words(" ".join(texts), seconds)

    found = cues(spread)

    assert text_of(found).replace(" ", "") == "".join(word.text for word in spread.words)
    assert all(1 <= len(cue.rows) <= 2 for cue in found)
    assert all(len(row) <= 42 or not row.isascii() for cue in found for row in cue.rows)
    assert all(cue.start < cue.end <= cue.start + 7 + 1e-6 for cue in found)
    assert all(one.end <= two.start + 0.0011 for one, two in pairwise(found))


# A time, an arrow, a time, and the text up to an empty line.
BLOCK = re.compile(r"^(?:\d+\n)?(\S+) --> (\S+)\n(.+?)\n(?:\n|\Z)", re.MULTILINE | re.DOTALL)


def seconds_of(stamp: str) -> float:
    hours, minutes, seconds = stamp.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def test_a_vtt_file_gives_the_cues_back() -> None:
    found = cues(spread_words(TEXT, 16.0))

    file = vtt(found)

    assert file.startswith("WEBVTT\n\n")
    assert re.search(r"<fox>|& ", file) is None
    read = [
        Cue(tuple(html.unescape(rows).split("\n")), seconds_of(start), seconds_of(end))
        for start, end, rows in BLOCK.findall(file)
    ]
    assert [cue.rows for cue in read] == [cue.rows for cue in found]
    for one, other in zip(read, found, strict=True):
        assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=0.00051)


def test_times_of_more_than_an_hour_are_written_out() -> None:
    late = [Cue(("late",), 3725.0604, 3726.9996)]

    assert "01:02:05.060 --> 01:02:07.000" in vtt(late)
    assert srt(late) == "1\n01:02:05,060 --> 01:02:07,000\nlate\n"


@pytest.mark.parametrize("form", ["vtt", "srt"])
def test_ffmpeg_reads_the_files(form: str, tmp_path: Path) -> None:
    found = cues(spread_words(TEXT, 16.0))
    file = tmp_path / f"captions.{form}"
    file.write_text(vtt(found) if form == "vtt" else srt(found))

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(file), "-f", "srt", "-"]
    output = subprocess.run(command, capture_output=True, text=True, check=True)

    assert output.stderr == ""
    blocks = BLOCK.findall(output.stdout.replace("\r\n", "\n"))
    times = [(seconds_of(start), seconds_of(end)) for start, end, _ in blocks]
    assert len(times) == len(found)
    for time, cue in zip(times, found, strict=True):
        assert time == pytest.approx((cue.start, cue.end), abs=0.0011)
    assert "quick brown fox" in output.stdout


def test_captions_of_remotion_hold_each_word_with_its_space() -> None:
    captions = remotion_captions(transcript(("Hello,", 0.25, 0.75), ("world!", 0.8, 1.2)))

    assert json.loads(json.dumps(captions)) == [
        {"text": "Hello,", "startMs": 250, "endMs": 750, "timestampMs": 500, "confidence": 1.0},
        {"text": " world!", "startMs": 800, "endMs": 1200, "timestampMs": 1000, "confidence": 1.0},
    ]


def test_spread_words_are_less_certain() -> None:
    captions = remotion_captions(spread_words("Hello world", 2.0))

    assert "".join(str(caption["text"]) for caption in captions) == "Hello world"
    assert all(caption["confidence"] == 0.3 for caption in captions)


def test_a_transcript_is_cut_with_its_video() -> None:
    words = (Word("One", 0.2, 0.5), Word("two", 0.8, 1.4), Word("three.", 2.0, 2.6))

    found = cut_transcript(Transcript(words, 3.0), 1.0)

    assert found == Transcript((words[0], Word("two", 0.8, 1.0)), 1.0)
    assert cues(found)[-1].end == 1.0
    assert cues(cut_transcript(Transcript(words, 3.0), 0.2)) == []
    assert cut_transcript(Transcript(words, 3.0), 3.04) == Transcript(words, 3.0)
