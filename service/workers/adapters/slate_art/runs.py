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
    ordered = []
    for place, (font, part, rtl) in enumerate(parts, start=1):
        if rtl is None:
            before = ways[place - 1]
            after = next(way for way in ways[place + 1 :] if way is not None)
            rtl = before if before == after else line
        ways[place] = rtl
        ordered.append(Run(font, part, bool(rtl)))
    return ordered


def _parts(text: str) -> Iterator[tuple[int, str, bool | None]]:
    """Runs of one font, their marks and spaces at both ends apart: those have no direction."""
    for font, part in _by_font(text):
        strong = [
            n for n, letter in enumerate(part) if unicodedata.bidirectional(letter) in _STRONG
        ]
        begin, end = (strong[0], strong[-1] + 1) if strong else (len(part), len(part))
        yield font, part[:begin], None
        yield font, part[begin:end], any(unicodedata.bidirectional(part[n]) in _RTL for n in strong)
        yield font, part[end:], None


def _by_font(text: str) -> Iterator[tuple[int, str]]:
    if text.replace("…", "").isascii():
        yield fonts.PLAIN, text
        return
    font, start = fonts.FIRST, 0
    for place, character in enumerate(text):
        chosen = _font(character, font)
        if chosen != font:
            if place > start:
                yield font, text[start:place]
            font, start = chosen, place
    yield font, text[start:]


def _font(character: str, before: int) -> int:
    """Choose a font; what is no letter takes that of what stands before it, where it has it."""
    category = unicodedata.category(character)
    if character == " " and before == fonts.EMOJI:
        return fonts.FIRST  # an emoji's own space is as wide as an emoji
    stays = category[0] in "MPZ" or category == "Cf" or character.isdigit()
    if stays and (category in ("Mn", "Me", "Cf") or fonts.has(before, character)):
        return before
    return fonts.font_of(character)
