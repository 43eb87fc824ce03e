"""Text on the slate: what the bundled font can draw, and how much of it fits."""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from math import ceil

from PIL import ImageDraw, ImageFont

from service.workers.adapters.slate_art.layer import Colour

LEADING = 1.26  # line height, of the font size
CAPITAL = 0.72  # height of a capital, of the font size
TRACKING = 0.14  # between the capitals of a label, of the font size
_PLAIN = str.maketrans(dict.fromkeys("\u2012\u2013\u2014\u2212", "-") | {"\u00d7": "x"})


@lru_cache(maxsize=64)
def font(size: int) -> ImageFont.FreeTypeFont:
    """The one font that Pillow carries (Aileron): little more than ASCII, digits of one width."""
    face = ImageFont.load_default(size=size)
    assert isinstance(face, ImageFont.FreeTypeFont)  # what Pillow gives when a size is named
    return face


def length(text: str, size: int) -> float:
    return font(size).getlength(text)


def legible(text: str) -> str:
    """One line that is safe to draw: accents and long dashes, which the font lacks, made plain."""
    letters = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    kept = (c if c.isprintable() else " " for c in letters if not unicodedata.combining(c))
    return " ".join("".join(kept).split())


def largest(texts: Iterable[str], width: int, most: int, least: int = 9) -> int:
    """The largest size, `least` to `most`, at which each text is no wider than `width`."""
    widest = max(length(text, 100) for text in texts)
    return max(least, min(most, int(100 * width / max(1.0, widest))))


def paragraph(text: str, size: int, width: int, most: int) -> tuple[list[str], bool]:
    """At most `most` lines no wider than `width`, and whether they hold all of `text`."""
    lines: list[str] = []
    while text and len(lines) < most:
        cut = _fitting(text, size, width)
        lines.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    if text and lines:
        lines[-1] = elided(f"{lines[-1]} {text}", size, width)
    return lines, not text


def elided(text: str, size: int, width: int) -> str:
    """`text`, or as much of its start as leaves room for an ellipsis."""
    if len(text) <= _at_most(size, width) and length(text, size) <= width:
        return text
    cut = _fitting(text, size, width - ceil(length("…", size)))
    return text[:cut].rstrip(" .,;:") + "…"


def _fitting(text: str, size: int, width: int) -> int:
    """How many characters make the next line: whole words where it can be, never none."""
    low, high = 1, min(len(text), _at_most(size, width))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if length(text[:middle], size) <= width else (low, middle - 1)
    if low == len(text) or text[low] == " ":
        return low
    space = text.rfind(" ", 0, low)
    return space if space > 0 else low


def _at_most(size: int, width: int) -> int:
    """More characters than a line can hold, so that a long prompt is not measured whole."""
    return 8 + 8 * max(0, width) // size


def label(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    fill: Colour,
    bold: bool = False,
) -> None:
    """Capitals set wide apart, `at` the left end of their foot."""
    x, y = at
    for letter in text:
        weight = size / 30 if bold else 0
        draw.text((x, y), letter, fill, font(size), anchor="ls", stroke_width=weight)
        x += length(letter, size) + size * TRACKING


def label_length(text: str, size: int) -> float:
    return sum(length(letter, size) + size * TRACKING for letter in text) - size * TRACKING
