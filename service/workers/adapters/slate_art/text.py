"""Text on the slate: measuring, wrapping and drawing."""

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
_MIN_SIZE = 9  # of letters
_JOINERS = "\u200c\u200d"  # invisible, but they shape Persian, Indic scripts and emoji


def font(size: int) -> ImageFont.FreeTypeFont:
    """Load the font of the slate's own labels and numbers; its digits have equal width."""
    return fonts.face(fonts.PLAIN, size)


def length(text: str, size: int) -> float:
    return sum(
        fonts.face(run.font, size).getlength(run.text, direction=_direction(run))
        for run in runs(text)
    )


def _direction(run: Run) -> str | None:
    """Return the run's direction for Raqm, which Pillow's wheels include; None without it."""
    if run.font == fonts.PLAIN or not features.check("raqm"):
        return None
    return "rtl" if run.rtl else "ltr"


def write(
    draw: ImageDraw.ImageDraw, start: tuple[float, float], text: str, size: int, fill: Colour
) -> None:
    """Draw one line in any script; `start` is the left end of its baseline."""
    x, y = start
    for run in runs(text):
        face = fonts.face(run.font, size)
        draw.text((x, y), run.text, fill, face, anchor="ls", direction=_direction(run))
        x += face.getlength(run.text, direction=_direction(run))


def legible(text: str) -> str:
    """Reduce `text` to one line without control characters."""
    letters = unicodedata.normalize("NFC", text)
    return " ".join(
        "".join(c if c.isprintable() or c in _JOINERS else " " for c in letters).split()
    )


def fitting_size(texts: Iterable[str], width: int, max_size: int) -> int:
    """Return the largest size up to `max_size` at which no text is wider than `width`."""
    max_length = max(length(text, 100) for text in texts)
    return max(_MIN_SIZE, min(max_size, int(100 * width / max(1.0, max_length))))


def paragraph(text: str, size: int, width: int, max_lines: int) -> tuple[list[str], bool]:
    """Wrap `text` into lines no wider than `width`; False when it had to be elided."""
    lines: list[str] = []
    while text and len(lines) < max_lines:
        cut = _break_at(text, size, width)
        lines.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    if text and lines:
        lines[-1] = elide(f"{lines[-1]} {text}", size, width)
    return lines, not text


def elide(text: str, size: int, width: int) -> str:
    """Return `text`, or as much of its start as fits with an ellipsis."""
    if len(text) <= _max_characters(size, width) and length(text, size) <= width:
        return text
    ellipsis = ceil(length("…", size)) if text.isascii() else size  # as wide as a Han character
    cut = _break_at(text, size, width - ellipsis)
    return text[:cut].rstrip(" .,;:") + "…"


def _break_at(text: str, size: int, width: int) -> int:
    """Count the characters of the next line: whole words if possible, at least one character."""
    low, high = 1, min(len(text), _max_characters(size, width))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if length(text[:middle], size) <= width else (low, middle - 1)
    if low == len(text) or text[low] == " ":
        return low
    space = text.rfind(" ", 0, low)
    return space if space > 0 else _between_letters(text, low)


def _between_letters(text: str, cut: int) -> int:
    """Return the last index up to `cut` that splits neither an accented letter nor an emoji."""
    for index in range(cut, 0, -1):
        before, after = text[index - 1], text[index]
        is_joined = unicodedata.category(after) in ("Mn", "Mc") or {before, after} & set(_JOINERS)
        if not is_joined:
            return index
    return cut


def _max_characters(size: int, width: int) -> int:
    """Return more characters than a line can hold: a long prompt is not measured as a whole."""
    return 8 + 8 * max(0, width) // size


def label(
    draw: ImageDraw.ImageDraw,
    start: tuple[float, float],
    text: str,
    size: int,
    fill: Colour,
    bold: bool = False,
) -> None:
    """Draw widely spaced capitals; `start` is the left end of their baseline."""
    x, y = start
    for letter in text:
        weight = size / 30 if bold else 0
        draw.text((x, y), letter, fill, font(size), anchor="ls", stroke_width=weight)
        x += length(letter, size) + size * TRACKING


def label_length(text: str, size: int) -> float:
    return sum(length(letter, size) + size * TRACKING for letter in text) - size * TRACKING
