"""Colours of a mouth's inside, from the photo's own light, skin, lips and teeth."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from service.workers.adapters.base import Frame
from service.workers.puppet.anatomy import Anatomy
from service.workers.puppet.face import Floats, Reals
from service.workers.puppet.landmarks import CHEEKS, LOWER_LIP, UPPER_LIP

_LUMA = np.array([0.299, 0.587, 0.114])
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
    skin = _median(image[_fill(image, face, *CHEEKS)], _FALLBACK_SKIN)
    lower = LOWER_LIP[0] + LOWER_LIP[-1][::-1]
    lip = _median(image[_fill(image, face, lower)], skin * (0.85, 0.60, 0.60))
    luma = float(skin @ _LUMA) / 255
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
    luma = float(skin @ _LUMA) / 255
    cast = skin / max(1.0, float(skin.max()))
    light = cast / np.array([1.0, 0.80, 0.70])  # without the usual colour of skin
    light /= light.max()
    ivory = np.array([1.0, 0.945, 0.855])
    level = 255 * (0.33 + 0.60 * luma)
    teeth: Reals = np.clip(level * (0.75 + 0.25 * light) * ivory, 0, 240)
    own = _own_teeth(image, face, float(skin @ _LUMA)) if face.is_open else None
    return teeth if own is None else teeth + 0.7 * (own - teeth)


def _own_teeth(image: Frame, face: Anatomy, luma: float) -> Reals | None:
    """Return the colour of the teeth between open lips, or None where there seem to be none."""
    pixels = image[_fill(image, face, UPPER_LIP[-1] + LOWER_LIP[-1][::-1])].astype(float)
    if len(pixels) <= _MIN_TEETH:
        return None
    level, most = pixels @ _LUMA, pixels.max(1)
    saturation = (most - pixels.min(1)) / np.maximum(most, 1)
    is_tooth = (level > np.percentile(level, 60)) & (level > 0.75 * luma) & (saturation < 0.27)
    if is_tooth.sum() <= max(_MIN_TEETH, 0.12 * len(pixels)):
        return None
    return _median(pixels[is_tooth], pixels[0])


def _median(pixels: NDArray[Any], default: Reals) -> Reals:
    median: Reals = np.median(pixels, 0) if len(pixels) else default
    return median


def _fill(image: Frame, face: Anatomy, *polygons: tuple[int, ...]) -> NDArray[np.bool]:
    mask = np.zeros(image.shape[:2], np.uint8)
    corners = [face.points[list(polygon), :2].astype(np.int32) for polygon in polygons]
    cv2.fillPoly(mask, corners, 1)
    return mask > 0
