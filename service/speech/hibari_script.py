"""Phonemes of a text for hibari, and for each of them the written word that it belongs to.

hibari reads "$9.99" as five words and "7:30 pm" as three, so words as written and words as read are
aligned: equal ones directly, the others by the lengths of their own readings.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

NOBODY = -1  # the owner of pauses before the first word
STRESS_MARKS = "ˈˌ"  # primary, secondary
PRIMARY_STRESS = STRESS_MARKS[0]
LENGTH_MARKS = frozenset("ːʰʲ̃")  # they belong to the sound before
PAUSES = frozenset(' ;:,.!?—…"()“”→↓↗↘')
MAX_PHONEMES = 400  # that the model reads at once, of which a few are pauses and marks
_CLAUSE_ENDS = frozenset(",;:—")
# The work of hibari grows with the cube of the parts of a word; that of the alignment with more
# than the square of the words of a sentence. A long address has 30 parts, a long sentence 100
# words.
_MAX_PARTS, _MAX_WORDS = 40, 200
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+|\S")

Read: TypeAlias = Callable[[str], str]


@dataclass(frozen=True)
class Passage:
    """Phonemes that the model reads at once; `owners` has an index of a written word for each."""

    phonemes: str
    owners: tuple[int, ...]


@dataclass(frozen=True)
class _Reading:
    """A word as hibari reads it, which has no space in it."""

    text: str
    phonemes: str


def is_sound(phoneme: str) -> bool:
    """Tell whether a symbol is heard by itself: it is no pause and no mark."""
    return not (phoneme in PAUSES or phoneme in STRESS_MARKS or phoneme in LENGTH_MARKS)


def passages(tts: Any, normalize: Read, text: str) -> Iterator[Passage]:
    """Yield what `tts` (hibari.Hibari) reads for `text`; `normalize` is its own function.

    Owners are indices of `text.split()`, and never fall. Raises LookupError when sentences are not
    parts of the text, as in hibari 0.2.
    """
    spans = [(match.start(), match.group()) for match in re.finditer(r"\S+", text)]
    first = position = 0
    for sentence in _sentences(tts, text):
        begin = text.find(sentence, position)
        if begin < 0:
            raise LookupError("a sentence is not a part of its text")
        position = begin + len(sentence)
        after = next((n for n in range(first, len(spans)) if spans[n][0] >= position), len(spans))
        words = [word for _, word in spans[first:after]]
        readings = list(_readings(tts, normalize(sentence)))
        # A text of one word is read alone, not within its sentence: only its length matters.
        owners = _owners(words, readings, lambda word: str(tts.g2p(split_words(word))))
        yield from _cut(readings, [first + owner for owner in owners])
        first = after


def split_words(text: str) -> str:
    """Put a space into words of more parts than hibari reads at once in bounded time."""
    return re.sub(r"\S+", lambda word: _split_word(word.group()), text)


def _split_word(word: str) -> str:
    starts = [match.start() for match in _PART.finditer(word)][::_MAX_PARTS]
    return " ".join(word[begin:end] for begin, end in pairwise([*starts, len(word)]))


def _sentences(tts: Any, text: str) -> Iterator[str]:
    """Yield sentences, and those of more than _MAX_WORDS in parts."""
    for sentence in tts.split_sentences(text):
        starts = [match.start() for match in re.finditer(r"\S+", sentence)][::_MAX_WORDS]
        for begin, end in pairwise([*starts, len(sentence)]):
            yield sentence[begin:end].rstrip()


def _readings(tts: Any, sentence: str) -> Iterator[_Reading]:
    """Yield the words of a normal sentence; hibari's tokens are parts of words."""
    text = phonemes = ""
    for token in tts.g2p.phonemize_tokens(tts.g2p.tokenize(split_words(sentence))):
        text += token.text
        phonemes += token.phonemes or ""
        if token.whitespace:
            yield _Reading(text, phonemes)
            text = phonemes = ""
    if text:
        yield _Reading(text, phonemes)


def _owners(words: Sequence[str], readings: Sequence[_Reading], read: Read) -> list[int]:
    """Return the index of a word for each phoneme of the readings."""
    keys = [_key(word) for word in words]
    reading_keys = [_key(reading.text) for reading in readings]
    matcher = SequenceMatcher(None, keys, reading_keys, autojunk=False)
    owners: list[int] = []
    for tag, begin, end, start, stop in matcher.get_opcodes():
        part = [reading.phonemes for reading in readings[start:stop]]
        if tag == "equal":
            for word, phonemes in enumerate(part, start=begin):
                owners += [word] * len(phonemes)
        elif begin < end:
            lengths = [_num_sounds(read(word)) for word in words[begin:end]]
            owners += [begin + owner for owner in _divide(part, lengths)]
        else:
            owners += [max(0, begin - 1)] * len("".join(part))
    return owners


def _key(word: str) -> str:
    """Reduce a word to what survives normalization: letters and digits, or else its marks."""
    return re.sub(r"[\W_]", "", word).casefold() or word


def _num_sounds(phonemes: str) -> int:
    return sum(map(is_sound, phonemes))


def _divide(part: Sequence[str], lengths: Sequence[int]) -> list[int]:
    """Return the index in `lengths` for each phoneme of `part`, in proportion to them.

    It cuts between spoken words if there are enough, else between sounds. A length of 0 gets none.
    """
    heard = [index for index, length in enumerate(lengths) if length] or [0]
    units = [unit for reading in part for unit in re.findall(r"[^ ]+ *| +", reading)]
    if len(units) < len(heard):
        units = list("".join(part))
    counts = list(accumulate(map(_num_sounds, units), initial=0))
    bounds = list(accumulate((lengths[index] for index in heard), initial=0))
    scale = counts[-1] / max(1, bounds[-1])
    cuts = [0]
    for number, bound in enumerate(bounds[1:-1], start=1):
        low, high = cuts[-1] + 1, len(units) - (len(heard) - number)
        cut = min(range(len(counts)), key=lambda n: abs(counts[n] - bound * scale))
        cuts.append(min(max(cut, low), max(low, high)))
    owners: list[int] = []
    for index, begin, end in zip(heard, cuts, [*cuts[1:], len(units)], strict=True):
        owners += [index] * len("".join(units[begin:end]))
    return owners


def _cut(readings: Sequence[_Reading], owners: Sequence[int]) -> Iterator[Passage]:
    """Yield passages of at most MAX_PHONEMES, cut after a clause if possible."""
    phonemes = " ".join(reading.phonemes for reading in readings)
    spaced: list[int] = []
    position = 0
    for reading in readings:
        spaced += owners[position : position + len(reading.phonemes)]
        position += len(reading.phonemes)
        spaced.append(spaced[-1] if spaced else NOBODY)  # the space after it
    begin = 0
    while begin < len(phonemes):
        end = _end_of_passage(phonemes, begin)
        if any(map(is_sound, phonemes[begin:end])):
            yield Passage(phonemes[begin:end], tuple(spaced[begin:end]))
        begin = end


def _end_of_passage(phonemes: str, begin: int) -> int:
    """Return the best end of a passage that starts at `begin`."""
    limit = begin + MAX_PHONEMES
    if len(phonemes) <= limit:
        return len(phonemes)
    spaces = [n for n in range(begin + 1, limit) if phonemes[n] == " "]
    clauses = [n for n in spaces if phonemes[n - 1] in _CLAUSE_ENDS]
    return (clauses or spaces or [limit - 1])[-1] + 1
