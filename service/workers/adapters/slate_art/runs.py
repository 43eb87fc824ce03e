"""Split a line of text into runs of one font each, from left to right."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from service.workers.adapters.slate_art import fonts

_RTL = frozenset({"R", "AL"})
_STRONG = _RTL | {"L", "EN", "AN", "NSM"}  # numbers and accents besides letters


@dataclass(frozen=True)
class Run:
    """Text in one font and direction; FreeType orders and joins its letters."""

    font: int
    text: str
    rtl: bool


def is_rtl(text: str) -> bool:
    """Return the direction of a line, which is that of its first letter (UAX #9)."""
    classes = (unicodedata.bidirectional(character) for character in text)
    return next((bidi in _RTL for bidi in classes if bidi in _RTL | {"L"}), False)


@lru_cache(maxsize=256)
def runs(text: str) -> tuple[Run, ...]:
    """Return the runs of a line in visual order, from left to right.

    Consecutive runs against the line's direction keep their own order.
    """
    rtl = is_rtl(text)
    visual: list[Run] = []
    for is_opposite, group in groupby(_logical_runs(text), lambda run: run.rtl != rtl):
        neighbours = list(group)
        visual += neighbours[::-1] if is_opposite else neighbours
    return tuple(visual[::-1] if rtl else visual)


def _logical_runs(text: str) -> list[Run]:
    """Return the runs in reading order. Marks and spaces take the direction of the letters on both
    sides, or the line's where those differ."""
    line = is_rtl(text)
    pieces = [piece for piece in _pieces(text) if piece[1]]
    directions = [line, *(rtl for _, _, rtl in pieces), line]
    logical = []
    for index, (font, letters, rtl) in enumerate(pieces, start=1):
        if rtl is None:
            before = directions[index - 1]
            after = next(way for way in directions[index + 1 :] if way is not None)
            rtl = before if before == after else line
        directions[index] = rtl
        logical.append(Run(font, letters, bool(rtl)))
    return logical


def _pieces(text: str) -> Iterator[tuple[int, str, bool | None]]:
    """Yield runs of one font; marks and spaces at both ends are split off without a direction."""
    for font, piece in _by_font(text):
        classes = [unicodedata.bidirectional(letter) for letter in piece]
        strong = [n for n, bidi in enumerate(classes) if bidi in _STRONG]
        begin, end = (strong[0], strong[-1] + 1) if strong else (len(piece), len(piece))
        yield font, piece[:begin], None
        yield font, piece[begin:end], any(classes[n] in _RTL for n in strong)
        yield font, piece[end:], None


def _by_font(text: str) -> Iterator[tuple[int, str]]:
    if text.replace("…", "").isascii():
        yield fonts.PLAIN, text
        return
    font, start = fonts.FIRST, 0
    for index, character in enumerate(text):
        next_font = _font(character, font)
        if next_font != font:
            if index > start:
                yield font, text[start:index]
            font, start = next_font, index
    yield font, text[start:]


def _font(character: str, before: int) -> int:
    """Choose a font; a mark or digit keeps the font of the character before, if that has it."""
    category = unicodedata.category(character)
    if character == " " and before == fonts.EMOJI:
        return fonts.FIRST  # an emoji's own space is as wide as an emoji
    stays = category[0] in "MPZ" or category == "Cf" or character.isdigit()
    if stays and (category in ("Mn", "Me", "Cf") or fonts.has(before, character)):
        return before
    return fonts.font_of(character)
