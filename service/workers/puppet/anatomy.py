"""Measure a face: its size, its axes, the line between its lips; and the colours of its mouth's
inside, from the photo's own light, skin, lips and teeth."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from service.workers.adapters.base import Frame
from service.workers.puppet.eyes import fit_lids
from service.workers.puppet.face import (
    CHIN,
    FOREHEAD,
    LUMA,
    OUTER_EYES,
    Floats,
    Points,
    Reals,
    fill_polygons,
    sample_pixels,
)
from service.workers.puppet.landmarks import CHEEKS, EARS, LOWER_LIP, OUTER_CORNERS, UPPER_LIP

_OPEN = 0.025  # between the lips, in eye distances, from which a mouth is open
_SEARCH = 0.03  # around the mesh's lip line, in eye distances
_INSET = 0.010  # of the cut into open lips, or the photo's own teeth stay as a fringe


@dataclass(frozen=True)
class Anatomy:
    """A face in an image. Its own frame: right, down and back, in eye distances."""

    points: Points  # pixels of the image; the inner lips are where the image is to be cut
    unit: float  # pixels between the outer corners of the eyes: about 90 mm of an adult
    axes: Reals  # (3, 3), the face's right, down and back in the image
    turn: Reals  # (2, 2), from the image to along and across the mouth
    mouth: Reals  # (3,), pixels: the middle between the corners
    gap: Reals  # (11,), pixels between the inner lips
    is_open: bool
    has_large_eyes: bool  # drawn ones, larger than the mesh's

    @cached_property
    def local(self) -> Points:
        """The points in the face's own frame, from the middle of the mouth."""
        return (self.points - self.mouth) @ self.axes.T / self.unit

    @cached_property
    def hinge(self) -> Reals:
        """The jaw's, before the ears, in the face's own frame: (down, back)."""
        result: Reals = self.local[list(EARS), 1:].mean(0)
        return result

    @property
    def pivot(self) -> Reals:
        """The top of the neck, around which the head turns, in the face's own frame: (3,)."""
        return np.array([0.0, self.local[CHIN, 1] + 0.15, self.hinge[1]])

    def skull_depth(self, local: Reals) -> Reals:
        """Return how far back the head is at points of (n, 2 or 3), as an ellipsoid.

        The mesh's own depth is noisy at the outline: cheeks would wobble against the hair.
        """
        top, chin = self.local[FOREHEAD, 1], self.local[CHIN, 1]
        down = (local[:, 1] - (top + chin) / 2) / ((chin - top) * 0.80)
        radius = (local[:, 0] / 1.02) ** 2 + down**2
        result: Reals = 0.10 - 0.80 * np.clip(1 - radius, 0, 1) ** 0.75
        return result


def measure_face(image: Frame, points: Points) -> Anatomy:
    """Measure the face at `points` in `image`."""
    points = points.astype(float)
    right = points[OUTER_EYES[1]] - points[OUTER_EYES[0]]
    unit = float(np.linalg.norm(right))
    back = np.cross(right, points[CHIN] - points[FOREHEAD])
    right, back = right / unit, back / np.linalg.norm(back)
    left_corner, right_corner = points[list(OUTER_CORNERS)]
    along = right_corner[:2] - left_corner[:2]
    along /= np.linalg.norm(along)
    turn = np.array([along, [-along[1], along[0]]])
    has_large_eyes = fit_lids(image, points, unit)
    gap = _gap(points)
    is_open = bool(gap.max() > _OPEN * unit)
    upper, lower = _widen(points, turn[1], unit) if is_open else _find_line(image, points, turn[1])
    points[list(UPPER_LIP[-1]), :2], points[list(LOWER_LIP[-1]), :2] = upper, lower
    axes = np.stack([right, np.cross(back, right), back])
    mouth = (left_corner + right_corner) / 2
    return Anatomy(points, unit, axes, turn, mouth, _gap(points), is_open, has_large_eyes)


def _gap(points: Points) -> Reals:
    """Return the pixels between the inner lips, from corner to corner: (11,)."""
    between = points[list(LOWER_LIP[-1]), :2] - points[list(UPPER_LIP[-1]), :2]
    result: Reals = np.linalg.norm(between, axis=1)
    return result


def _widen(points: Points, down: Reals, unit: float) -> tuple[Reals, Reals]:
    """Move the cut of an open mouth into the lips, and return the upper and the lower one."""
    inset = _INSET * unit * np.sin(np.linspace(0, np.pi, 11))[:, None] * down
    return points[list(UPPER_LIP[-1]), :2] - inset, points[list(LOWER_LIP[-1]), :2] + inset


def _find_line(image: Frame, points: Points, down: Reals) -> tuple[Reals, Reals]:
    """Return the dark line between closed lips, twice: the mesh is a few pixels off."""
    unit = float(np.linalg.norm(points[OUTER_EYES[1]] - points[OUTER_EYES[0]]))
    middle = (points[list(UPPER_LIP[-1]), :2] + points[list(LOWER_LIP[-1]), :2]) / 2
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = cv2.GaussianBlur(grey, (0, 0), max(0.6, 0.006 * unit))
    offsets = np.linspace(-_SEARCH, _SEARCH, 25) * unit
    places = middle[:, None, :] + offsets[:, None] * down
    levels = sample_pixels(grey, places) + 30 * (offsets / (_SEARCH * unit)) ** 2
    shift = offsets[levels.argmin(1)]
    shift[[0, -1]] = 0
    shift = np.convolve(np.pad(shift, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    line = middle + shift[:, None] * down
    return line, line


def smoothstep(low: float, high: float, values: NDArray[Any]) -> Floats:
    """Rise from 0 at `low` to 1 at `high`, flat at both ends."""
    share = np.clip((np.asarray(values, np.float32) - low) / (high - low), 0, 1).astype(np.float32)
    result: Floats = share * share * (3 - 2 * share)
    return result


_FALLBACK_SKIN = np.array([180.0, 140.0, 120.0])
_MIN_TEETH = 12  # pixels


@dataclass(frozen=True)
class Colours:
    """RGB of 0 to 255, each (3,)."""

    teeth: Floats
    cavity: Floats
    tongue: Floats


def read_colours(image: Frame, face: Anatomy) -> Colours:
    """Read the colours of a face."""
    skin = _median(image[fill_polygons(image, face.points, *CHEEKS)], _FALLBACK_SKIN)
    lower = LOWER_LIP[0] + LOWER_LIP[-1][::-1]
    lip = _median(image[fill_polygons(image, face.points, lower)], skin * (0.85, 0.60, 0.60))
    luma = float(skin @ LUMA) / 255
    return Colours(
        teeth=_teeth(image, face, skin).astype(np.float32),
        cavity=(np.array([62.0, 22.0, 22.0]) * (0.35 + 0.75 * luma)).astype(np.float32),
        tongue=_tongue(lip, luma).astype(np.float32),
    )


def _tongue(lip: Reals, luma: float) -> Reals:
    typical = np.array([190.0, 95.0, 95.0]) * (0.3 + 0.9 * luma)
    return (0.55 * lip + 0.45 * typical) * 0.82


def _teeth(image: Frame, face: Anatomy, skin: Reals) -> Reals:
    """Return the colour of ivory in the photo's light, mixed with teeth that it shows."""
    luma = float(skin @ LUMA) / 255
    cast = skin / max(1.0, float(skin.max()))
    light = cast / np.array([1.0, 0.80, 0.70])  # without the usual colour of skin
    light /= light.max()
    ivory = np.array([1.0, 0.945, 0.855])
    level = 255 * (0.33 + 0.60 * luma)
    teeth: Reals = np.clip(level * (0.75 + 0.25 * light) * ivory, 0, 240)
    own = _own_teeth(image, face, float(skin @ LUMA)) if face.is_open else None
    return teeth if own is None else teeth + 0.7 * (own - teeth)


def _own_teeth(image: Frame, face: Anatomy, luma: float) -> Reals | None:
    """Return the colour of the teeth between open lips, or None where there seem to be none."""
    pixels = image[fill_polygons(image, face.points, UPPER_LIP[-1] + LOWER_LIP[-1][::-1])].astype(
        float
    )
    if len(pixels) <= _MIN_TEETH:
        return None
    level, most = pixels @ LUMA, pixels.max(1)
    saturation = (most - pixels.min(1)) / np.maximum(most, 1)
    is_tooth = (level > np.percentile(level, 60)) & (level > 0.75 * luma) & (saturation < 0.27)
    if is_tooth.sum() <= max(_MIN_TEETH, 0.12 * len(pixels)):
        return None
    return _median(pixels[is_tooth], pixels[0])


def _median(pixels: NDArray[Any], default: Reals) -> Reals:
    median: Reals = np.median(pixels, 0) if len(pixels) else default
    return median
