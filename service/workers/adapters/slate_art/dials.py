"""The slate's moving parts besides the stick: timecode, frame counter, progress bar."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from service.domain.request import VideoRequest
from service.workers.adapters.base import Frame
from service.workers.adapters.slate_art.layer import INK, WELL, Colour
from service.workers.adapters.slate_art.layout import SMALLEST_PRINT, Layout
from service.workers.adapters.slate_art.text import CAPITAL, font, largest, length

Tiles: TypeAlias = dict[str, Frame]  # each digit drawn once, so that a frame only copies
# Draws what belongs to the frame at an index of the whole video.
Show: TypeAlias = Callable[[Frame, int], None]


def timecode(index: int, fps: int) -> str:
    """Hours, minutes, seconds and frames, as in SMPTE 12M without dropped frames."""
    seconds, frames = divmod(index, fps)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frames:02}"


def counter(number: int, of: int) -> str:
    return f"{number:0{len(str(of))}}/{of}"


def dials(request: VideoRequest, layout: Layout, of: int) -> Show:
    """Timecode on the left and counter on the right; the counter alone where both do not fit. They
    count the `of` frames of the whole video, of which `request` may be a segment."""
    fps = request.fps
    width = layout.wide - 2 * layout.pad
    both, count = f"{timecode(0, fps)}     {counter(of, of)}", counter(of, of)
    timed = length(both, SMALLEST_PRINT) <= width
    size = largest([both if timed else count], width, round(layout.em * 1.9))
    if not layout.roomy:
        size = min(size, round((layout.banner - layout.dials) * 0.8))
    tiles = _tiles(size)
    spare = width - sum(tiles[letter].shape[1] for letter in count)
    left = layout.left + layout.pad
    right = left + (spare if timed else spare // 2)
    top = layout.top + _foot(layout, size) - _rise(size)

    def show(frame: Frame, index: int) -> None:
        if timed:
            _write(frame, tiles, left, top, timecode(index, fps))
        _write(frame, tiles, right, top, counter(index + 1, of))

    return show


def progress_bar(request: VideoRequest, accent: Colour, of: int) -> Show:
    """A thin bar along the lower edge of the frame, full at the last of all `of` frames."""
    thick = max(2, round(min(request.width, request.height) * 0.01))

    def show(frame: Frame, index: int) -> None:
        done = request.width * (index + 1) // of
        frame[-thick:] >>= 1
        frame[-thick:, :done] = accent

    return show


def _foot(layout: Layout, size: int) -> int:
    """Where the digits stand: below their labels, or else in the middle of their row."""
    if layout.roomy:
        return layout.banner - round(layout.em * 0.9)
    return (layout.dials + layout.banner + round(size * CAPITAL)) // 2


def _tiles(size: int) -> Tiles:
    return {letter: _tile(letter, size) for letter in "0123456789:/"}


def _tile(letter: str, size: int) -> Frame:
    tile = Image.new("RGB", (round(length(letter, size)), _rise(size) + 1), WELL)
    ImageDraw.Draw(tile).text((0, _rise(size)), letter, INK, font(size), anchor="ls")
    return np.asarray(tile).copy()


def _rise(size: int) -> int:
    """From the foot of a digit to the upper edge of its tile; round digits stand a little out."""
    return round(size * CAPITAL) + 1


def _write(frame: Frame, tiles: Tiles, left: int, top: int, text: str) -> None:
    for letter in text:
        tile = tiles[letter]
        frame[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        left += tile.shape[1]
