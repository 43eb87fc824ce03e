"""The slate's animated overlays besides the stick: timecode, frame counter, progress bar."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from service.domain.request import VideoRequest
from service.workers.adapters.base import Frame
from service.workers.adapters.slate_art.layer import INK, WELL, Colour
from service.workers.adapters.slate_art.layout import SMALLEST_PRINT, Layout
from service.workers.adapters.slate_art.text import CAPITAL, fitting_size, font, length

Tiles: TypeAlias = dict[str, Frame]  # each digit is drawn once and then copied into frames
# Draws on a frame, given its index in the whole video.
Overlay: TypeAlias = Callable[[Frame, int], None]


def timecode(index: int, fps: int) -> str:
    """Format hours, minutes, seconds and frames as in SMPTE 12M without dropped frames."""
    seconds, frames = divmod(index, fps)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frames:02}"


def counter(number: int, total: int) -> str:
    return f"{number:0{len(str(total))}}/{total}"


def dials(request: VideoRequest, layout: Layout, total: int) -> Overlay:
    """Draw the timecode on the left and the counter on the right, or the counter alone.

    Both count the `total` frames of the whole video, of which `request` may be one segment.
    """
    fps = request.fps
    width = layout.wide - 2 * layout.pad
    both, count = f"{timecode(0, fps)}     {counter(total, total)}", counter(total, total)
    has_timecode = length(both, SMALLEST_PRINT) <= width
    size = fitting_size([both if has_timecode else count], width, round(layout.em * 1.9))
    if not layout.roomy:
        size = min(size, round((layout.banner - layout.dials) * 0.8))
    tiles = _tiles(size)
    spare = width - sum(tiles[letter].shape[1] for letter in count)
    timecode_x = layout.left + layout.pad
    counter_x = timecode_x + (spare if has_timecode else spare // 2)
    top = layout.top + _foot(layout, size) - _rise(size)

    def show(frame: Frame, index: int) -> None:
        if has_timecode:
            _write(frame, tiles, timecode_x, top, timecode(index, fps))
        _write(frame, tiles, counter_x, top, counter(index + 1, total))

    return show


def progress_bar(request: VideoRequest, accent: Colour, total: int) -> Overlay:
    """Draw a thin bar along the lower edge of the frame, full at the last of `total` frames."""
    height = max(2, round(min(request.width, request.height) * 0.01))

    def show(frame: Frame, index: int) -> None:
        width = request.width * (index + 1) // total
        frame[-height:] >>= 1
        frame[-height:, :width] = accent

    return show


def _foot(layout: Layout, size: int) -> int:
    """Return the digits' baseline: below their labels, or else centred in their row."""
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
    """Return the height of a tile above the baseline; round digits overshoot a little."""
    return round(size * CAPITAL) + 1


def _write(frame: Frame, tiles: Tiles, x: int, top: int, text: str) -> None:
    for letter in text:
        tile = tiles[letter]
        frame[top : top + tile.shape[0], x : x + tile.shape[1]] = tile
        x += tile.shape[1]
