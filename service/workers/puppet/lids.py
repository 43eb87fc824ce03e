"""Draw upper eyelids over the eyes of a finished frame."""

import cv2
import numpy as np

from service.workers.adapters.base import Frame
from service.workers.puppet.anatomy import Anatomy, smoothstep
from service.workers.puppet.face import Floats
from service.workers.puppet.fields import Contour, Rect, rect_around
from service.workers.puppet.landmarks import LIDS, LOWER_BROWS
from service.workers.puppet.mouth import coordinates

_MIN_BLINK = 0.02
_SAMPLES = 48
# How far a shut lid goes beyond the mesh's lower one, which often is drawn on the eyeball.
_OVERLAP = 0.022  # in eye distances, in the middle
_LASHES = 0.022  # of the lid's edge that keep their shape, in eye distances
# The skin above an open lid that is stretched, in eye distances: least where brows are drawn near.
_MIN_ROOM, _MAX_ROOM = 0.07, 0.22
_MIN_PIXELS = 6


class Lid:
    """The upper lid of one eye; `side` is 0 for the left of the image and 1 for the right.

    Its skin is stretched along the eye's own vertical: a field that is inverted would draw the
    iris on the closed lid.
    """

    def __init__(
        self, face: Anatomy, side: int, lines: tuple[Contour, Contour], softness: float
    ) -> None:
        """Take the lines of the upper and of the lower lid; `softness` of edges is in pixels."""
        self._unit, self._lines, self._softness = face.unit, lines, softness
        lid = face.points[list(LIDS[side][0][3:6]), :2].mean(0)
        brow = face.points[list(LOWER_BROWS[side]), :2].mean(0)
        room = 0.85 * float(np.linalg.norm(lid - brow))
        # In halves of the eye's width; a share of the light; and between these blinks.
        self._reach, self._darkness, self._rise = 0.94, 0.35, (0.2, 0.8)
        if face.has_large_eyes:  # drawn lids have an outline and no lashes
            self._reach, self._darkness, self._rise = 1.10, 0.75, (0.0, 0.2)
        highest = _MIN_ROOM if face.has_large_eyes else _MAX_ROOM
        self._room = float(np.clip(room, _MIN_ROOM * face.unit, highest * face.unit))

    def draw(self, frame: Frame, blink: float, weights: Floats) -> None:
        """Shut the eye in `frame` by `blink`, 0 to 1."""
        if blink <= _MIN_BLINK:
            return
        upper, lower = (line.move(weights) for line in self._lines)
        centre, turn, half = _eye_axes(upper)
        x = np.linspace(-half, half, _SAMPLES)
        top = np.interp(x, *_along(upper, centre, turn))
        bottom = np.interp(x, *_along(lower, centre, turn))
        bottom += _OVERLAP * self._unit * (1 - (x / half) ** 4)
        part = self._part(centre, turn, half, float(top.min()), float(bottom.max()), frame)
        if part.width < _MIN_PIXELS or part.height < _MIN_PIXELS:
            return
        along, across = coordinates(part, centre, turn)
        edge = np.interp(along, x, top + (bottom - top) * blink).astype(np.float32)
        open_edge = np.interp(along, x, top).astype(np.float32)
        highest = open_edge - np.float32(self._room)
        view = part.of(frame)
        source = self._skin(across, edge, open_edge, highest)
        skin = _sample(view, along, source, centre - (part.left, part.top), turn)
        pixels = view.astype(np.float32)
        share = np.clip((edge - across) / self._softness + 0.5, 0, 1) * (across > highest - 1)
        share *= 1 - smoothstep(half * self._reach, half * (self._reach + 0.16), np.abs(along))
        pixels += (skin - pixels) * share[..., None]
        lashes = np.exp(-(((across - edge) / (0.011 * self._unit)) ** 2))
        lashes *= 1 - smoothstep(half * 0.8, half, np.abs(along))
        lashes *= self._darkness * float(smoothstep(*self._rise, np.array(blink)))
        pixels *= 1 - lashes[..., None]
        view[:] = np.clip(pixels + 0.5, 0, 255)

    def _part(
        self, centre: Floats, turn: Floats, half: float, top: float, bottom: float, frame: Frame
    ) -> Rect:
        unit = self._unit
        reach, high, low = half + 0.10 * unit, top - 0.26 * unit, bottom + 0.06 * unit
        corners = np.array([[-reach, high], [reach, high], [reach, low], [-reach, low]])
        return rect_around(corners @ turn + centre, frame.shape[1], frame.shape[0])

    def _skin(self, across: Floats, edge: Floats, open_edge: Floats, highest: Floats) -> Floats:
        """Return where across the eye each pixel of the lid comes from.

        Lashes keep their shape, and the skin above them is stretched.
        """
        band = _LASHES * self._unit
        stretch = (self._room - band) / np.maximum(edge - band - highest, 1)
        plain = highest + (across - highest) * stretch
        source = np.where(across > edge - band, open_edge - (edge - across), plain)
        return np.where(source < highest, across, source).astype(np.float32)


def _eye_axes(upper: Floats) -> tuple[Floats, Floats, float]:
    """Return an eye's centre, its axes along and across, and half its width."""
    first, last = upper[0], upper[-1]
    along = last - first if last[0] > first[0] else first - last
    width = float(np.linalg.norm(along))
    along = along / width
    return (first + last) / 2, np.array([along, [-along[1], along[0]]], np.float32), width / 2


def _along(line: Floats, centre: Floats, turn: Floats) -> tuple[Floats, Floats]:
    """Return a lid's places along and across the eye, from left to right."""
    x, y = turn @ (line - centre).T
    return (x, y) if x[0] < x[-1] else (x[::-1], y[::-1])


def _sample(view: Frame, along: Floats, across: Floats, centre: Floats, turn: Floats) -> Floats:
    """Return the pixels of a view at places along and across an eye: (h, w, 3)."""
    places = [centre[axis] + along * turn[0, axis] + across * turn[1, axis] for axis in (0, 1)]
    columns, rows = (place.astype(np.float32) for place in places)
    pixels = cv2.remap(view, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    result: Floats = pixels.astype(np.float32)
    return result
