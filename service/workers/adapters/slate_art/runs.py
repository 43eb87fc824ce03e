"""A line of text as runs of one font each, from left to right."""

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
    """Text that one font draws; within it FreeType's layout orders and joins the letters."""

    font: int
    text: str
    rtl: bool


def is_rtl(text: str) -> bool:
    """The direction of a line is that of its first letter (UAX #9)."""
    ways = (unicodedata.bidirectional(character) for character in text)
    return next((way in _RTL for way in ways if way in _RTL | {"L"}), False)


@lru_cache(maxsize=256)
def runs(text: str) -> tuple[Run, ...]:
    """As they stand from left to right. Runs of the other direction than the line's keep an order
    of their own among themselves."""
    rtl = is_rtl(text)
    ordered: list[Run] = []
    for other, group in groupby(_logical(text), lambda run: run.rtl != rtl):
        part = list(group)
        ordered += part[::-1] if other else part
    return tuple(ordered[::-1] if rtl else ordered)


def _logical(text: str) -> list[Run]:
    """In the order of reading. Marks and spaces go with the letters on both sides of them, or with
    the line where those differ."""
    line = is_rtl(text)
    parts = [part for part in _parts(text) if part[1]]
    ways = [line, *(rtl for _, _, rtl in parts), line]
    found = []
    for place, (font, part, rtl) in enumerate(parts, start=1):
        if rtl is None:
            before, after = (
                ways[place - 1],
                next(way for way in ways[place + 1 :] if way is not None),
            )
            rtl = before if before == after else line
        ways[place] = rtl
        found.append(Run(font, part, bool(rtl)))
    return found


def _parts(text: str) -> Iterator[tuple[int, str, bool | None]]:
    """Runs of one font, their marks and spaces at both ends apart: those have no direction."""
    for font, part in _by_font(text):
        strong = [n for n, one in enumerate(part) if unicodedata.bidirectional(one) in _STRONG]
        begin, end = (strong[0], strong[-1] + 1) if strong else (len(part), len(part))
        yield font, part[:begin], None
        yield font, part[begin:end], any(unicodedata.bidirectional(part[n]) in _RTL for n in strong)
        yield font, part[end:], None


def _by_font(text: str) -> Iterator[tuple[int, str]]:
    if text.replace("…", "").isascii():
        yield fonts.PLAIN, text
        return
    font, start = 1, 0
    for place, character in enumerate(text):
        needed = _font(character, font)
        if needed != font:
            if place > start:
                yield font, text[start:place]
            font, start = needed, place
    yield font, text[start:]


def _font(character: str, before: int) -> int:
    """What is no letter goes with what stands before it, where that font has it."""
    category = unicodedata.category(character)
    if character == " " and before == fonts.EMOJI:
        return 1  # an emoji's own space is as wide as an emoji
    stays = category[0] in "MPZ" or category == "Cf" or character.isdigit()
    if stays and (category in ("Mn", "Me", "Cf") or fonts.has(before, character)):
        return before
    return fonts.font_of(character)
