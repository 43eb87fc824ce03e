"""Draw the lower lip and the open mouth over a frame whose upper half is drawn already."""

from dataclasses import dataclass

import numpy as np

from service.workers.adapters.base import Frame
from service.workers.puppet.anatomy import Anatomy, Colours, smoothstep
from service.workers.puppet.articulation import PRESS
from service.workers.puppet.face import Floats
from service.workers.puppet.fields import Contour, Field, Rect, rect_around
from service.workers.puppet.pose import MOUTH_SHAPES, Pose
from service.workers.puppet.teeth import Cavity, Inside

_SAMPLES = 64  # along the lips
_TAPER = 0.05  # of the mouth's width at each corner, where the lips meet
_TOUCH = 0.6  # pixels between lips that count as closed
_MIN_PIXELS = 8


@dataclass(frozen=True)
class Opening:
    """The inner lips in one frame, in pixels along (x) and across (y) the mouth from `centre`."""

    centre: Floats  # (2,), in the frame
    x: Floats  # (_SAMPLES,), as are the next two
    upper: Floats
    lower: Floats

    @property
    def half_width(self) -> float:
        return float(self.x[-1] - self.x[0]) / 2


class Mouth:
    """The mouth of one face."""

    def __init__(
        self, face: Anatomy, lines: tuple[Contour, Contour], lower: Field, colours: Colours
    ) -> None:
        """Take the lines of both inner lips, upper first, and the field of the lower face."""
        self._face, self._lower = face, lower
        self._upper_line, self._lower_line = lines
        self.softness = float(np.clip(0.010 * face.unit, 0.7, 2.2))  # of edges, in pixels
        self._cavity = Cavity(face.unit, self.softness, colours)

    def opening(self, weights: Floats) -> Opening:
        """Return the inner lips in a pose; they never cross."""
        upper, lower = self._upper_line.move(weights), self._lower_line.move(weights)
        centre = (upper[0] + upper[-1] + lower[0] + lower[-1]) / 4
        above = self._rotate(upper - centre)
        below = self._rotate(lower - centre)
        first, last = (above[[0, -1], 0] + below[[0, -1], 0]) / 2
        x = np.linspace(first, last, _SAMPLES)
        top, bottom = np.interp(x, *above.T), np.interp(x, *below.T)
        middle, gap = (top + bottom) / 2, bottom - top
        gap *= smoothstep(0, _TAPER, np.linspace(0, 1, _SAMPLES))
        gap *= smoothstep(0, _TAPER, np.linspace(1, 0, _SAMPLES))
        half = np.where(gap < _TOUCH, 0, gap) / 2
        return Opening(centre, x, middle - half, middle + half)

    def draw(self, image: Frame, frame: Frame, pose: Pose, weights: Floats) -> None:
        """Draw on `frame`, from `image`, the photo."""
        opening = self.opening(weights)
        part = self._part(opening, frame)
        if part.width < _MIN_PIXELS or part.height < _MIN_PIXELS:
            return
        x, y = coordinates(part, opening.centre, self._face.turn)
        top = np.interp(x, opening.x, opening.upper).astype(np.float32)
        bottom = np.interp(x, opening.x, opening.lower).astype(np.float32)
        pixels = part.of(frame).astype(np.float32)
        below = np.clip((y - bottom) / self.softness + 0.5, 0, 1)
        lower = self._lower.draw(image, weights, part)
        share = below * self._fade(x, y - bottom, opening.half_width)
        pixels += (lower - pixels) * share[..., None]
        inside = (1 - below) * (1 - np.clip((top - y) / self.softness + 0.5, 0, 1))
        inside *= smoothstep(0.6, 2.2, bottom - top)
        inside[(x < opening.x[0]) | (x > opening.x[-1])] = 0
        if inside.max() > 0.01:
            place = Inside(x, y, top, bottom, opening.half_width)
            colour = self._cavity.paint(place, pose, self._skull_line(opening, weights))
            pixels += (colour - pixels) * inside[..., None]
        pixels *= 1 - self._seam(x, y, top, bottom, opening, pose)[..., None]
        part.of(frame)[:] = np.clip(pixels + 0.5, 0, 255)

    def _rotate(self, offsets: Floats) -> Floats:
        return (offsets @ self._face.turn.T).astype(np.float32)

    def _part(self, opening: Opening, frame: Frame) -> Rect:
        """Return the part of the frame that a mouth reaches."""
        unit, reach = self._face.unit, opening.half_width + 0.22 * self._face.unit
        top = min(0.0, float(opening.upper.min())) - 0.16 * unit
        bottom = float(opening.lower.max()) + 0.42 * unit
        corners = np.array([[-reach, top], [reach, top], [reach, bottom], [-reach, bottom]])
        height, width = frame.shape[:2]
        return rect_around(corners @ self._face.turn + opening.centre, width, height)

    def _fade(self, x: Floats, below: Floats, half_width: float) -> Floats:
        """Return where the lower face is drawn, 0 to 1: it ends softly beside and below."""
        unit = self._face.unit
        beside = 1 - smoothstep(half_width - 0.03 * unit, half_width + 0.05 * unit, np.abs(x))
        return beside * (1 - smoothstep(0.26 * unit, 0.40 * unit, below))

    def _skull_line(self, opening: Opening, weights: Floats) -> Floats:
        """Return the upper lip as it is when only the head moves: (n, 2), as Opening is.

        Teeth belong to the skull, and would slide if they followed the lip.
        """
        head = weights.copy()
        head[MOUTH_SHAPES] = 0
        return self._rotate(self._upper_line.move(head) - opening.centre)

    def _seam(
        self, x: Floats, y: Floats, top: Floats, bottom: Floats, opening: Opening, pose: Pose
    ) -> Floats:
        """Return how much the line between closed lips is darkened, 0 to 1."""
        middle, half = (top + bottom) / 2, opening.half_width
        line = np.exp(-(((y - middle) / (0.010 * self._face.unit)) ** 2))
        line *= 1 - smoothstep(0.4, 3.0, bottom - top)
        line *= 1 - smoothstep(half * 0.86, half * 1.04, np.abs(x))
        # The photo of a closed mouth has a line of its own.
        strength = 0.38 if self._face.is_open else 0.08 + 0.15 * float(pose.mouth[PRESS])
        result: Floats = (strength * line).astype(np.float32)
        return result


def coordinates(part: Rect, centre: Floats, turn: Floats) -> tuple[Floats, Floats]:
    """Return each pixel's place along and across the rows of `turn`, (2, 2), from `centre`."""
    columns = np.arange(part.left, part.right, dtype=np.float32)[None, :] - np.float32(centre[0])
    rows = np.arange(part.top, part.bottom, dtype=np.float32)[:, None] - np.float32(centre[1])
    axes = turn.astype(np.float32)
    return columns * axes[0, 0] + rows * axes[0, 1], columns * axes[1, 0] + rows * axes[1, 1]
