"""Words of a text in a sound, by its pauses."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.media import word_times
from service.media.captions import SPREAD
from service.media.word_times import PLACED, place_words

TEXT = "Hello there. My name is Anna, and this is a map. Good bye."


def starts(text: str, stretches: list[tuple[float, float]], seconds: float) -> dict[str, float]:
    placed = place_words(text, stretches, seconds)
    return {word.text: round(word.start, 2) for word in placed.words}


def test_a_pause_is_where_a_sentence_ends() -> None:
    found = starts(TEXT, [(1.0, 1.8), (2.5, 5.5), (6.0, 6.7)], 8.0)

    assert (found["Hello"], found["My"], found["Good"]) == (1.0, 2.5, 6.0)
    assert 2.5 < found["name"] < found["Anna,"] < found["map."] < 5.5


def test_a_pause_within_a_sentence_is_where_the_time_says() -> None:
    found = starts("one two three four five six", [(0.0, 2.0), (3.0, 4.0)], 4.0)

    assert found["four"] < 2.0
    assert found["five"] == 3.0


def test_a_cough_before_the_speech_has_no_word() -> None:
    found = starts(TEXT, [(0.1, 0.2), (2.0, 2.8), (3.5, 6.5), (7.0, 7.7)], 8.0)

    assert (found["Hello"], found["My"], found["Good"]) == (2.0, 3.5, 7.0)


def test_fewer_words_than_stretches_are_spread_from_the_first_to_the_last() -> None:
    placed = place_words("こんにちは、皆さん。", [(1.0, 2.0), (2.5, 4.0)], 6.0)

    (word,) = placed.words
    assert (word.start, word.end) == (1.0, pytest.approx(4.0))
    assert placed.confidence == SPREAD


def test_without_stretches_the_words_are_spread_over_all() -> None:
    assert place_words(TEXT, [], 8.0).words[0].start == 0.0
    assert place_words("", [(0.0, 1.0)], 1.0).words == ()


@pytest.mark.parametrize("num_stretches", [100, 300])
def test_a_text_that_is_too_dense_for_its_sound_takes_bounded_work(
    monkeypatch: pytest.MonkeyPatch, num_stretches: int
) -> None:
    """Five thousand words in pulses of 0.08 s."""
    stretches = [(0.3 * number, 0.3 * number + 0.08) for number in range(num_stretches)]
    num_tries = 0
    cost = word_times._cost

    def count(spoken: float, length: float) -> float:
        nonlocal num_tries
        num_tries += 1
        assert num_tries <= num_stretches * 150**2
        return cost(spoken, length)

    monkeypatch.setattr(word_times, "_cost", count)

    placed = place_words("a " * 5000, stretches, 0.3 * num_stretches)

    assert len(placed.words) == 5000
    assert placed.confidence == PLACED
    for start, _ in stretches[:: num_stretches // 10]:  # spread over all of the sound
        assert min(abs(word.start - start) for word in placed.words) < 1.0


def test_every_bound_of_a_text_that_somebody_can_speak_is_tried() -> None:
    """Nine words a second, which is very fast, for ten minutes."""
    times = [number / 9 for number in range(5401)]

    for reached in range(0, 601, 7):
        bounds = word_times._near(times, reached)
        assert bounds.step == 1
        assert bounds[0] <= max(0, 9 * (reached - 8))
        assert bounds[-1] >= min(5400, 9 * (reached + 8))


@settings(max_examples=60)
@given(
    st.lists(st.text("abc.,1", min_size=1, max_size=8), min_size=1, max_size=60),
    st.lists(st.floats(0.05, 20), min_size=2, max_size=40),
)
def test_every_word_has_a_time_in_order(words: list[str], lengths: list[float]) -> None:
    times = [sum(lengths[:count]) for count in range(len(lengths) + 1)]
    stretches = [*zip(times[:-1:2], times[1::2], strict=False)]

    placed = place_words(" ".join(words), stretches, times[-1])

    assert [word.text for word in placed.words] == words
    assert placed.confidence in (SPREAD, PLACED)
    for before, after in pairwise(placed.words):
        assert before.start <= before.end + 1e-9 <= after.start + 2e-9
    assert placed.words[0].start >= stretches[0][0]
    assert placed.words[-1].end <= stretches[-1][1] + 1e-6
