"""Text on the slate: how much of it fits, and how it is drawn."""

import unicodedata
from collections.abc import Iterable
from math import ceil

from PIL import ImageDraw, ImageFont, features

from service.workers.adapters.slate_art import fonts
from service.workers.adapters.slate_art.layer import Colour
from service.workers.adapters.slate_art.runs import Run, runs

LEADING = 1.26  # line height, of the font size
CAPITAL = 0.72  # height of a capital, of the font size
TRACKING = 0.14  # between the capitals of a label, of the font size
_JOINERS = "\u200c\u200d"  # invisible, and yet they shape Persian, Indic scripts and emoji


def font(size: int) -> ImageFont.FreeTypeFont:
    """The one of the slate's own words and numbers: its digits have one width."""
    return fonts.face(fonts.PLAIN, size)


def length(text: str, size: int) -> float:
    return sum(
        fonts.face(run.font, size).getlength(run.text, direction=_direction(run))
        for run in runs(text)
    )


def _direction(run: Run) -> str | None:
    """Pillow's wheels have Raqm, which joins letters and knows directions; without it there is no
    saying which."""
    if run.font == fonts.PLAIN or not features.check("raqm"):
        return None
    return "rtl" if run.rtl else "ltr"


def write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, fill: Colour
) -> None:
    """One line in any script, `at` the left end of its foot."""
    x, y = at
    for run in runs(text):
        face = fonts.face(run.font, size)
        draw.text((x, y), run.text, fill, face, anchor="ls", direction=_direction(run))
        x += face.getlength(run.text, direction=_direction(run))


def legible(text: str) -> str:
    """One line that is safe to draw, without control characters."""
    letters = unicodedata.normalize("NFC", text)
    return " ".join(
        "".join(c if c.isprintable() or c in _JOINERS else " " for c in letters).split()
    )


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
    ellipsis = ceil(length("…", size)) if text.isascii() else size  # as wide as a Han character
    cut = _fitting(text, size, width - ellipsis)
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
    return space if space > 0 else _between_letters(text, low)


def _between_letters(text: str, cut: int) -> int:
    """The last place up to `cut` that parts no accent from its letter and no joined emoji."""
    for place in range(cut, 0, -1):
        before, after = text[place - 1], text[place]
        bound = unicodedata.category(after) in ("Mn", "Mc") or {before, after} & set(_JOINERS)
        if not bound:
            return place
    return cut


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
