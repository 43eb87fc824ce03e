"""Place the words of a text in a sound by the stretches in which somebody speaks."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from math import ceil

from service.domain.speech import Word, letters_of
from service.media.captions import Transcript, ends_clause, spread_words

PLACED = 0.6  # confidence; on test sentences words begin 0.2 s off on average
_WORD_START = 1.0  # in letters
_BREAK = 0.3  # cost of a pause that no punctuation asks for
_DRIFT = 8.0  # seconds by which the text may be ahead of the sound or behind it
# Bounds that are tried after a stretch. Nobody speaks so many words within twice the drift: where a
# text is too dense for its sound, only some bounds are tried, as the work grows with their square.
_MAX_BOUNDS = 150

# Start and end in seconds, in the order of time.
Stretch = tuple[float, float]


def place_words(text: str, stretches: Sequence[Stretch], seconds: float) -> Transcript:
    """Spread the words over the stretches, so that pauses come after punctuation if possible.

    Where there are fewer words than stretches, they are spread from the first to the last.
    """
    words = text.split()
    if not stretches:
        return spread_words(text, seconds)
    if len(words) < len(stretches):
        start, end = stretches[0][0], stretches[-1][1]
        spread = spread_words(text, end - start)
        timed_words = (
            Word(word.text, start + word.start, start + word.end) for word in spread.words
        )
        return Transcript(tuple(timed_words), seconds, spread.confidence)
    loads = [_WORD_START + letters_of(word) for word in words]
    cuts = _cuts(words, loads, stretches)
    result: list[Word] = []
    for (begin, end), stretch in zip(pairwise(cuts), stretches, strict=True):
        result += _within(words[begin:end], loads[begin:end], stretch)
    return Transcript(tuple(result), seconds, PLACED)


def _cuts(words: Sequence[str], loads: Sequence[float], stretches: Sequence[Stretch]) -> list[int]:
    """Return the bounds of the words of each stretch, from 0 to their number, at the least cost.

    Each stretch costs the square of the seconds by which its words are too long or too short.
    """
    lengths = [end - start for start, end in stretches]
    scale = sum(lengths) / sum(loads)
    times = [0.0, *accumulate(load * scale for load in loads)]  # of speech before each word
    # Of each possible bound after the stretches so far: the cost, and the bound before.
    best: dict[int, tuple[float, int]] = {0: (0.0, 0)}
    steps = []
    for number, time in enumerate(accumulate(lengths), start=1):
        is_last = number == len(lengths)
        ends = range(len(words), len(words) + 1) if is_last else _near(times, time)
        best = {
            end: min(
                (cost + _cost(times[end] - times[begin], lengths[number - 1]), begin)
                for begin, (cost, _) in best.items()
                if begin <= end
            )
            for end in ends
            if any(begin <= end for begin in best)
        }
        if not is_last:
            best = {
                end: (cost + (0 if end and ends_clause(words[end - 1]) else _BREAK), begin)
                for end, (cost, begin) in best.items()
            }
        steps.append(best)
    cuts = [len(words)]
    for step in reversed(steps):
        cuts.append(step[cuts[-1]][1])
    return cuts[::-1]


def _near(times: Sequence[float], time: float) -> range:
    """Return words before which about so many seconds were spoken: 1 to _MAX_BOUNDS of them."""
    first = max(0, bisect_left(times, time - _DRIFT) - 1)
    last = min(len(times), bisect_right(times, time + _DRIFT) + 1)
    return range(first, last, ceil((last - first) / _MAX_BOUNDS))


def _cost(seconds: float, length: float) -> float:
    return (seconds - length) ** 2 / (0.1 + length)


def _within(words: Sequence[str], loads: Sequence[float], stretch: Stretch) -> Iterator[Word]:
    start, end = stretch
    scale = (end - start) / sum(loads) if loads else 0.0
    for word, load in zip(words, loads, strict=True):
        yield Word(word, start, start + load * scale)
        start += load * scale
