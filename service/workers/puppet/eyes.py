"""Fit the mesh's lids to large drawn eyes, whose whites reach beyond it."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.workers.adapters.base import Frame
from service.workers.puppet.face import LUMA, Floats, Points, Reals, fill_polygons, sample_pixels
from service.workers.puppet.landmarks import CHEEKS, LIDS

Flags: TypeAlias = NDArray[np.bool]
_STEP, _MAX_STEPS = 0.004, 40  # outwards from the mesh, in eye distances
_NEAR, _MAX_OUTLINE = 10, 12  # steps to the white, and across the outline
_BRIGHT, _DARK, _GREY = 1.1, 0.75, 0.5  # of the skin's luma, luma and saturation
_MIN_SHARE = 0.6  # of the lids' points that need white just outside


def fit_lids(image: Frame, points: Points, unit: float) -> bool:
    """Move the lids in `points` to where the white of the eye and its outline end; tell if any did.

    Photos are left alone: skin next to a lid is never as bright and grey as the white.
    """
    skin = _skin(image, points)
    moves = False
    if skin is None:
        return moves
    for upper, lower in LIDS:
        names = list(dict.fromkeys(upper + lower))
        lids = points[names, :2]
        outwards = lids - lids.mean(0)
        outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
        steps = np.arange(_MAX_STEPS) * _STEP * unit
        colours = sample_pixels(image, lids[:, None] + steps[:, None] * outwards[:, None])
        is_white, is_dark = _classify(colours, skin)
        if is_white[:, :_NEAR].any(1).mean() >= _MIN_SHARE:
            reach = [_edge(white, dark) for white, dark in zip(is_white, is_dark, strict=True)]
            points[names, :2] += steps[reach][:, None] * outwards
            moves = True
    return moves


def _skin(image: Frame, points: Points) -> Reals | None:
    """Return the median colour of the cheeks, or None where they are outside of the image."""
    pixels = image[fill_polygons(image, points, *CHEEKS)]
    return np.asarray(np.median(pixels, 0), float) if len(pixels) else None


def _classify(colours: Floats, skin: Reals) -> tuple[Flags, Flags]:
    """Return which of `colours`, (..., 3), are white of an eye, and which are its outline."""
    luma = colours @ LUMA
    is_bright = luma > _BRIGHT * float(skin @ LUMA)
    is_grey = np.ptp(colours, axis=-1) < _GREY * float(np.ptp(skin))
    return is_bright & is_grey, luma < _DARK * float(skin @ LUMA)


def _edge(is_white: Flags, is_dark: Flags) -> int:
    """Return the first step after the white and the outline around it."""
    step = int(np.flatnonzero(is_white).max(initial=-1)) + 1
    # Between white and outline is a pixel or two of grey.
    outline = np.flatnonzero(is_dark[step : step + _MAX_OUTLINE])
    return min(step + int(outline.max(initial=-1)) + 1, len(is_white) - 1)
