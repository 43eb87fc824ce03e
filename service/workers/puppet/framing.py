"""Crop a photo to a face at any size, and extend it where it is too narrow for that."""

import cv2
import numpy as np
from numpy.typing import NDArray

from service.workers.adapters.base import Frame
from service.workers.puppet.face import CHIN, FOREHEAD, OUTER_EYES, Points, Reals

_SHORT_SIDE = 5.0  # of the crop, in eye distances, where the photo has room
_MIN_WIDTH, _MIN_HEIGHT = 1.75, 1.6  # of the crop, in widths and heights of the face
_HEAD = 2.5  # heights of the face from the top of most hair to the shoulders
_MARGIN = 64  # pixels around the crop that its blur sees
_RISE = 0.06  # how far the face is above the middle, in short sides
_FADE, _BLUR = 0.05, 0.06  # of the extended edges, in short sides


def frame_face(photo: Frame, points: Points, width: int, height: int) -> tuple[Frame, Points, bool]:
    """Return exactly `width` x `height` pixels around a face, its points in them, and whether the
    photo was extended.

    The photo's own edges are kept out while there is room; the face is never cut to keep them out.
    """
    left, top, scale = _window(photo, points, width, height)
    photo, shift = _crop(photo, left, top, width / scale, height / scale)
    points = points - (*shift, 0)
    offset = (np.array([left, top]) - shift) * scale
    matrix = np.array([[scale, 0, -offset[0]], [0, scale, -offset[1]]])
    if scale < 0.6:  # blur before a strong reduction
        photo = cv2.GaussianBlur(photo, (0, 0), 0.4 / scale)
    image = cv2.warpAffine(
        photo,
        matrix,
        (width, height),
        flags=cv2.INTER_CUBIC if scale < 1.5 else cv2.INTER_LANCZOS4,
        borderMode=cv2.BORDER_REPLICATE,
    )
    beside, above = _outside(photo, matrix, width, height)
    is_extended = max(beside.max(), above.max()) > 1
    if is_extended:
        image = _soften(image, beside, above)
    face_points = points * scale
    face_points[:, :2] += matrix[:, 2]
    return image, face_points, is_extended


def crop_around(photo: Frame, face: Reals | None, width: int, height: int) -> Frame:
    """Return the largest part of a photo with the shape of `width` x `height`, in that size.

    It is around the middle of the points of a face, (n, 2), or of the photo, as far as there is
    room: a face may be cut off that does not fit.
    """
    down, across = photo.shape[:2]
    scale = max(width / across, height / down)
    # At least a pixel: a photo may be a sliver.
    wide = min(across, max(1, round(width / scale)))
    tall = min(down, max(1, round(height / scale)))
    x, y = (across / 2, down / 2) if face is None else (face.min(0) + face.max(0)) / 2
    left, top = round(_place(x - wide / 2, wide, across)), round(_place(y - tall / 2, tall, down))
    part = photo[top : top + tall, left : left + wide]
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image: Frame = cv2.resize(part, (width, height), interpolation=kind)
    return image


def _window(photo: Frame, points: Points, width: int, height: int) -> tuple[float, float, float]:
    """Choose the crop: left and top in pixels of the photo, and the scale."""
    down, across = photo.shape[:2]
    short = min(width, height)
    wide, tall = width / short, height / short
    face_width, face_height = np.ptp(points[:, 0]), np.ptp(points[:, 1])
    eyes = float(np.linalg.norm(points[OUTER_EYES[1]] - points[OUTER_EYES[0]]))
    least = max(_MIN_WIDTH * face_width / wide, _MIN_HEIGHT * face_height / tall)
    if least * wide > across:  # its sides are extended anyway: keep all of the head
        least = max(least, min(_HEAD * face_height, down) / tall)
    side = max(least, min(_SHORT_SIDE * eyes, across / wide, down / tall))
    x, y = (points[FOREHEAD, :2] + points[CHIN, :2]) / 2
    left = _place(x - side * wide / 2, side * wide, across)
    # Rows are added above the head, never below a body that the photo cuts off.
    room = down - side * tall
    top = room if room < 0 else _place(y + _RISE * side - side * tall / 2, side * tall, down)
    return left, top, short / side


def _crop(
    photo: Frame, left: float, top: float, width: float, height: float
) -> tuple[Frame, NDArray[np.intp]]:
    """Cut off what is far from the window, and return the place of the rest in the photo."""
    low = np.maximum(np.array([left, top]).astype(int) - _MARGIN, 0)
    high = np.array([left + width, top + height]).astype(int) + _MARGIN
    return photo[low[1] : max(0, high[1]), low[0] : max(0, high[0])], low


def _place(start: float, length: float, room: float) -> float:
    """Move a span into the photo, or centre it where it does not fit."""
    if length > room:
        return (room - length) / 2
    return float(np.clip(start, 0, room - length))


def _outside(photo: Frame, matrix: Reals, width: int, height: int) -> tuple[Reals, Reals]:
    """Return how many pixels each column, and each row, of the crop is outside the photo."""
    down, across = photo.shape[:2]
    first = matrix[:, 2]
    last = first + matrix[0, 0] * np.array([across, down]) - 1
    x, y = np.arange(width), np.arange(height)
    beside = np.maximum(np.maximum(first[0] - x, x - last[0]), 0)
    above = np.maximum(np.maximum(first[1] - y, y - last[1]), 0)
    return beside, above


def _soften(image: Frame, beside: Reals, above: Reals) -> Frame:
    """Blur what was extended along the photo's edge, the more the farther it is from the photo.

    It repeats the pixels of the edge; a blur across would draw a ghost of what is near it.
    """
    short = min(image.shape[:2])
    sigma, fade = _BLUR * short, _FADE * short
    result = image.astype(np.float32)
    for distance, axis in ((above[:, None, None], 0), (beside[None, :, None], 1)):
        # A kernel of one pixel across the edge.
        size = 2 * round(3 * sigma) + 1
        kernel = (size, 1) if axis == 0 else (1, size)
        soft = cv2.GaussianBlur(result, kernel, sigma, borderType=cv2.BORDER_REPLICATE)
        result += (soft - result) * np.clip(distance / fade, 0, 1).astype(np.float32)
    frame: Frame = (result + 0.5).astype(np.uint8)
    return frame
