"""Captions drawn on the frames of a video, in any script that a font here has."""

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from service.media.captions import Cue
from service.workers.adapters.base import Frame
from service.workers.adapters.slate_art import fonts
from service.workers.adapters.slate_art.layer import Colour, Layer, layers
from service.workers.adapters.slate_art.runs import runs
from service.workers.adapters.slate_art.text import LEADING, legible, length, paragraph, write

_MARGIN = 0.05  # of each side, which stays free
_MAX_SIZE, _MIN_SIZE = 0.055, 0.034  # of the text, of the frame's shorter side
_MIN_PIXELS = 8
_MAX_ROWS = 4  # where two rows would need a smaller size
_INK: Colour = (255, 255, 255)
_BOX = (0, 0, 0, 168)  # black, with two thirds of its weight
_ASCENT, _PADDING = 0.92, 0.35  # of the size
_DRAWN_CATEGORIES = ("L", "N", "P", "S", "M")  # of characters that are seen


@dataclass(frozen=True)
class _Layout:
    """Rows of text in a size in pixels."""

    rows: tuple[str, ...]
    size: int


class BurnIn:
    """Draws cues on frames of one size, near the lower edge, inside the middle 90 %."""

    def __init__(self, cues: Sequence[Cue], width: int, height: int) -> None:
        """`cues` are in order and do not overlap."""
        self._cues = cues
        self._starts = [cue.start for cue in cues]
        self._width, self._height = width, height
        self._index = -1
        self._layers: list[Layer] = []

    def draw_on(self, frame: Frame, seconds: float) -> Frame:
        """Draw the cue of this moment, if there is one, on a frame of uint8 [height, width, 3], and
        return it."""
        index = bisect_right(self._starts, seconds) - 1
        if index < 0 or seconds >= self._cues[index].end:
            return frame
        if index != self._index:
            self._index = index
            self._layers = draw_cue(self._cues[index], self._width, self._height)
        for layer in self._layers:
            layer.draw_on(frame)
        return frame


def draw_cue(cue: Cue, width: int, height: int) -> list[Layer]:
    """Draw a cue on a dark box, for frames of this size; nothing if it has no text or no room."""
    safe_width, safe_height = int(width * (1 - 2 * _MARGIN)), int(height * (1 - 2 * _MARGIN))
    layout = _layout(cue.rows, min(width, height), safe_width, safe_height)
    if not layout.rows:
        return []
    pad, pitch = round(layout.size * _PADDING), round(layout.size * LEADING)
    text_width = max(length(row, layout.size) for row in layout.rows)
    box_width = min(safe_width, round(text_width) + 2 * pad)
    box_height = min(safe_height, pitch * len(layout.rows) + pad)
    image = Image.new("RGBA", (box_width, box_height))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, box_width - 1, box_height - 1), pad, fill=_BOX)
    for number, row in enumerate(layout.rows):
        x = (box_width - length(row, layout.size)) / 2
        y = pad / 2 + number * pitch + layout.size * _ASCENT
        write(draw, (x, y), row, layout.size, _INK)
    top = height - round(height * _MARGIN) - box_height
    return layers(image.convert("RGBa"), top, (width - box_width) // 2)


def missing_scripts(cues: Sequence[Cue]) -> tuple[str, ...]:
    """Return a sentence for each script of the cues that no font here has."""
    scripts: dict[str, None] = {}
    for row in {row for cue in cues for row in cue.rows}:
        for run in runs(legible(row)):
            for letter in run.text:
                is_drawn = unicodedata.category(letter).startswith(_DRAWN_CATEGORIES)
                if is_drawn and not fonts.has(run.font, letter):
                    scripts[unicodedata.name(letter, "UNKNOWN").split()[0]] = None
    advice = "install the extra `fonts`" if fonts.FIRST == fonts.PLAIN else "they are boxes"
    return tuple(
        f"captions: no font on this worker has the letters of {script.title()}; {advice}"
        for script in sorted(scripts)
    )


def _layout(rows: Sequence[str], side: int, safe_width: int, safe_height: int) -> _Layout:
    """Return the cue's own rows in the largest size that fits, else its text in more rows."""
    texts = tuple(filter(None, map(legible, rows)))
    max_size = max(_MIN_PIXELS, round(side * _MAX_SIZE))
    min_size = max(_MIN_PIXELS, round(side * _MIN_SIZE))
    for size in range(max_size, min_size - 1, -1):
        width = safe_width - 2 * round(size * _PADDING)
        if all(length(text, size) <= width for text in texts):
            return _Layout(texts, size)
    max_rows = min(_MAX_ROWS, int(safe_height / (min_size * LEADING)) - 1)
    width = safe_width - 2 * round(min_size * _PADDING)
    if width < min_size or max_rows < 1:
        return _Layout((), min_size)
    rows, _ = paragraph(" ".join(texts), min_size, width, max_rows)
    return _Layout(tuple(rows), min_size)
