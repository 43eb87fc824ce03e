"""Captions of speech: cues of a few words with their times, as VTT, SRT and Remotion's JSON."""
# ruff: noqa: RUF001 - punctuation of other scripts

import html
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from service.domain.speech import Word

MAX_COLUMNS = 42  # of a row; a Han character takes two
MAX_ROWS = 2
MIN_SECONDS, MAX_SECONDS = 1.0, 7.0  # that a cue is shown
TIMED, SPREAD = 1.0, 0.3  # confidence: as the voice told it, or spread by the words' lengths
_PAUSE_SECONDS = 0.6  # a longer pause ends a cue
_SENTENCE_ENDS, _CLAUSE_ENDS = ".!?…。！？", ",;:—–、，；："
_CLOSERS = "\"'”’»)]）」』"  # after an end
_EPSILON = 0.001  # of seconds: no cue of a file may end where it starts
# Costs of a cue: each has the first, and each defect adds to it.
_COST, _BAD_BREAK, _CLAUSE_BREAK, _SHORT = 1.0, 1.0, 0.25, 2.0
# Lengths of pauses and of a word's own start, in characters.
_SENTENCE_PAUSE, _CLAUSE_PAUSE, _WORD_START = 6.0, 3.0, 1.0


@dataclass(frozen=True)
class Cue:
    """A caption: one or two rows of text, shown from `start` to `end` in seconds."""

    rows: tuple[str, ...]
    start: float
    end: float


@dataclass(frozen=True)
class Transcript:
    """The words of a sound of `seconds`; `confidence` in their times is 0 to 1."""

    words: tuple[Word, ...]
    seconds: float
    confidence: float = TIMED


def spread_words(text: str, seconds: float) -> Transcript:
    """Spread the words of a text over a sound, by their lengths and the pauses between them."""
    texts = text.split()
    loads = [_WORD_START + _columns(word) for word in texts]
    rests = [*map(_pause_after, texts[:-1]), 0.0][: len(texts)]  # none after the last
    scale = seconds / max(1.0, sum(loads) + sum(rests))
    words, start = [], 0.0
    for word, load, rest in zip(texts, loads, rests, strict=True):
        end = min(seconds, start + load * scale)
        words.append(Word(word, start, end))
        start = min(seconds, end + rest * scale)
    return Transcript(tuple(words), seconds, SPREAD)


def cut_transcript(transcript: Transcript, seconds: float) -> Transcript:
    """Return what is heard of a transcript in so many seconds; a word may be cut, too."""
    words = (word for word in transcript.words if word.start + _EPSILON <= seconds)
    cut_words = (Word(word.text, word.start, min(word.end, seconds)) for word in words)
    length = min(transcript.seconds, seconds)
    return Transcript(tuple(cut_words), length, transcript.confidence)


def ends_clause(word: str) -> bool:
    """Tell whether a pause is likely after a word."""
    return _pause_after(word) > 0


def cues(transcript: Transcript) -> list[Cue]:
    """Put the words into cues of at most two rows, 42 columns each, and 1 to 7 seconds.

    They break at pauses and punctuation if possible. A cue is shorter than a second only where
    the next begins so soon, or the sound ends; a word longer than 7 seconds is shown for 7.
    """
    words = [piece for word in transcript.words for piece in _pieces(word)]
    result = []
    cuts = _cuts(words)
    for begin, end in pairwise(cuts):
        start, last = words[begin].start, words[end - 1].end
        following = words[end].start if end < len(words) else max(transcript.seconds, last)
        until = min(max(last, start + MIN_SECONDS), max(following, last), start + MAX_SECONDS)
        until = max(until, start + _EPSILON)
        result.append(Cue(_rows([word.text for word in words[begin:end]]), start, until))
    return result


def vtt(cues: Sequence[Cue]) -> str:
    """Write a WebVTT file."""
    blocks = [
        f"{_timestamp(cue.start, '.')} --> {_timestamp(cue.end, '.')}\n"
        + "\n".join(html.escape(row, quote=False) for row in cue.rows)
        + "\n"
        for cue in cues
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def srt(cues: Sequence[Cue]) -> str:
    """Write a SubRip file. It has no escapes, so an arrow in a text is drawn as one."""
    blocks = [
        f"{number}\n{_timestamp(cue.start, ',')} --> {_timestamp(cue.end, ',')}\n"
        + "\n".join(row.replace("-->", "→") for row in cue.rows)
        + "\n"
        for number, cue in enumerate(cues, start=1)
    ]
    return "\n".join(blocks)


def remotion_captions(transcript: Transcript) -> list[dict[str, str | int | float]]:
    """Return the words as objects of Remotion's type Caption. Every text but the first begins with
    the space before it, and times are in milliseconds."""
    captions: list[dict[str, str | int | float]] = []
    for word in transcript.words:
        start, end = round(word.start * 1000), round(word.end * 1000)
        captions.append(
            {
                "text": f" {word.text}" if captions else word.text,
                "startMs": start,
                "endMs": end,
                "timestampMs": (start + end) // 2,
                "confidence": transcript.confidence,
            }
        )
    return captions


def _cuts(words: Sequence[Word]) -> list[int]:
    """Return the bounds of the cues, from 0 to the number of words, at the least cost."""
    widths = [_columns(word.text) for word in words]
    costs = [0.0, *([math.inf] * len(words))]  # of the best cues up to each bound
    starts = [0] * (len(words) + 1)  # of the last of those cues
    for begin in range(len(words)):
        for end in _ends(words, widths, begin):
            cost = costs[begin] + _cost(words[begin:end], words[end : end + 1])
            if cost < costs[end]:
                costs[end], starts[end] = cost, begin
    cuts = [len(words)]
    while cuts[-1] > 0:
        cuts.append(starts[cuts[-1]])
    return cuts[::-1]


def _ends(words: Sequence[Word], widths: Sequence[int], begin: int) -> Iterator[int]:
    """Yield the bounds at which a cue from `begin` may end; the first word fits always."""
    num_rows, columns = 1, widths[begin]
    yield begin + 1
    for index in range(begin + 1, len(words)):
        columns += 1 + widths[index]
        if columns > MAX_COLUMNS:
            num_rows, columns = num_rows + 1, widths[index]
        is_long = words[index].end - words[begin].start > MAX_SECONDS
        pause = words[index].start - words[index - 1].end
        if num_rows > MAX_ROWS or is_long or pause > _PAUSE_SECONDS:
            return
        yield index + 1


def _cost(part: Sequence[Word], following: Sequence[Word]) -> float:
    cost = _COST
    pause = following[0].start - part[-1].end if following else _PAUSE_SECONDS
    ending = part[-1].text.rstrip(_CLOSERS)
    if not ending.endswith(tuple(_SENTENCE_ENDS)) and pause < _PAUSE_SECONDS:
        cost += _CLAUSE_BREAK if ending.endswith(tuple(_CLAUSE_ENDS)) else _BAD_BREAK
    room = following[0].start - part[0].start if following else MIN_SECONDS
    return cost + _SHORT * max(0.0, MIN_SECONDS - room)


def _rows(texts: Sequence[str]) -> tuple[str, ...]:
    """Wrap texts into rows; two rows are made as equal as possible."""
    rows: list[str] = []
    for text in texts:
        if rows and _columns(f"{rows[-1]} {text}") <= MAX_COLUMNS:
            rows[-1] += f" {text}"
        else:
            rows.append(text)
    if len(rows) != MAX_ROWS:
        return tuple(rows)
    halves = [(" ".join(texts[:cut]), " ".join(texts[cut:])) for cut in range(1, len(texts))]
    return min(halves, key=lambda half: max(map(_columns, half)))


def _pieces(word: Word) -> list[Word]:
    """Split a word that is wider than a row, as a sentence of Japanese is."""
    share = (word.end - word.start) / max(1, len(word.text))
    pieces, begin = [], 0
    while begin < len(word.text):
        end = _end_of_piece(word.text, begin)
        times = word.start + begin * share, word.start + end * share
        pieces.append(Word(word.text[begin:end], *times))
        begin = end
    return pieces


def _end_of_piece(text: str, begin: int) -> int:
    """Return the end of a row that starts at `begin`: after punctuation in its second half, or
    where it is full."""
    end, num_columns = begin, 0
    while end < len(text) and (num_columns := num_columns + _columns(text[end])) <= MAX_COLUMNS:
        end += 1
    if end == len(text):
        return end
    middle = (begin + end) // 2
    stops = [n for n in range(middle, end) if text[n] in _SENTENCE_ENDS + _CLAUSE_ENDS]
    return stops[-1] + 1 if stops else max(end, begin + 1)


def _columns(text: str) -> int:
    return sum(
        1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
        if unicodedata.category(letter) not in ("Mn", "Me", "Cf")
    )


def _pause_after(word: str) -> float:
    ending = word.rstrip(_CLOSERS)
    if ending.endswith(tuple(_SENTENCE_ENDS)):
        return _SENTENCE_PAUSE
    return _CLAUSE_PAUSE if ending.endswith(tuple(_CLAUSE_ENDS)) else 0.0


def _timestamp(seconds: float, mark: str) -> str:
    total = round(seconds * 1000)
    whole, milliseconds = divmod(total, 1000)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}{mark}{milliseconds:03}"
