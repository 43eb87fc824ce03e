"""Blend shapes of a face: where each point of the mesh moves at weight 1.

All lengths are in eye distances, in the face's own frame (see Anatomy).
"""

import numpy as np

from service.workers.puppet.anatomy import Anatomy, smoothstep
from service.workers.puppet.face import FOREHEAD, INNER_LIPS, Points, Reals
from service.workers.puppet.landmarks import (
    BROWS,
    CORNERS,
    EYE_CORNERS,
    LOWER_LIP,
    OUTER_CORNERS,
    UPPER_LIP,
)
from service.workers.puppet.pose import BlendShape

NUM_SHAPES = len(BlendShape)
_JAW_DROP = 0.205
_AT_CORNER = 0.34  # the corners' share in the jaw's drop
_POINTS = 468


class _Lips:
    """Parts of the mesh near the mouth."""

    def __init__(self, face: Anatomy) -> None:
        local = face.local
        # The place along a lip: 0 at the corners, 1 in the middle.
        self.along_upper, self.along_lower = np.zeros(_POINTS), np.zeros(_POINTS)
        for row in UPPER_LIP:
            self.along_upper[list(row)] = np.sin(np.linspace(0, np.pi, len(row)))
        for row in LOWER_LIP:
            self.along_lower[list(row)] = np.sin(np.linspace(0, np.pi, len(row)))
        self.lower = sorted({point for row in LOWER_LIP for point in row})
        self.is_lip = np.zeros(_POINTS, bool)
        self.is_lip[self.lower] = True
        self.is_lip[[point for row in UPPER_LIP for point in row]] = True
        self.corner = list(CORNERS)
        self.half_width = abs(float(np.subtract(*local[list(OUTER_CORNERS), 0]))) / 2
        # -1 to 1 along the lips, and a bump on the cheek beside each corner.
        self.across = np.clip(local[:, 0] / self.half_width, -1.1, 1.1)
        beside = (np.abs(local[:, 0]) - self.half_width) / 0.16
        bump = np.exp(-(beside**2) - (local[:, 1] / 0.20) ** 2) * np.sign(local[:, 0])
        self.near = bump
        self.is_below = ~self.is_lip & (local[:, 1] > 0.12)
        self.is_below &= np.abs(local[:, 0]) < self.half_width * 1.2


def blend_shapes(face: Anatomy) -> Reals:
    """Return the displacement of every point by every BlendShape, in pixels: (14, 468, 2)."""
    lips = _Lips(face)
    offsets = np.zeros((NUM_SHAPES, _POINTS, 3))
    offsets[BlendShape.CLOSE] = _close(face, lips)
    offsets[BlendShape.JAW] = _jaw(face, lips)
    offsets[BlendShape.WIDE] = _wide(lips)
    offsets[BlendShape.ROUND] = _round(face.local, lips)
    offsets[BlendShape.PRESS] = _press(lips)
    offsets[BlendShape.TUCK] = _tuck(lips)
    offsets[BlendShape.LIFT] = _raise_lip(face.local, lips)
    offsets[BlendShape.BROW, :, 1] = _brow(face.local)
    offsets[BlendShape.YAW : BlendShape.DY + 1] = head_shapes(face, face.local)
    offsets[BlendShape.BREATH, :, 1] = -0.010
    return (offsets @ face.axes)[:, :, :2] * face.unit


def head_shapes(face: Anatomy, local: Reals) -> Reals:
    """Return how points at `local`, (n, 2 or 3), move with the head: (5, n, 3).

    In order: yaw, pitch and roll by one degree around the top of the neck, dx and dy.
    """
    right, down = local[:, 0], local[:, 1] - face.pivot[1]
    back = face.skull_depth(local) - face.pivot[2]
    none, one = np.zeros(len(local)), np.ones(len(local))
    degree = np.pi / 180
    turns = np.array([[-back, none, right], [none, -back, down], [-down, right, none]]) * degree
    moves = np.array([[one, none, none], [none, one, none]])
    return np.concatenate([turns, moves]).transpose(0, 2, 1)


def _spread(
    target: Reals,
    rows: tuple[tuple[int, ...], ...],
    amounts: tuple[float, ...],
    along: Reals,
) -> None:
    """Set each row of a lip, from the outer to the inner one, to its amount times `along`."""
    for row, amount in zip(rows, amounts, strict=True):
        target[list(row)] = amount * along[list(row)]


def _close(face: Anatomy, lips: _Lips) -> Points:
    """Bring the lips of an open mouth together; an open smile narrows."""
    result = np.zeros((_POINTS, 3))
    gap = face.gap / face.unit
    for row in UPPER_LIP:
        result[list(row), 1] = 0.42 * gap
    for row, share in zip(LOWER_LIP, (0.50, 0.54, 0.57, 0.58), strict=True):
        result[list(row), 1] = -share * gap
    result[list(UPPER_LIP[-1]), 1] = 0.42 * gap  # the corners are in both
    result[lips.is_below, 1] = -0.22 * gap.max()
    if face.is_open:
        inwards = -np.sign(face.local[lips.corner, 0])
        result[lips.corner, 0] = inwards * min(0.02, float(gap.max()) * 0.2)
    return result


def _jaw(face: Anatomy, lips: _Lips) -> Points:
    """Drop the jaw around its hinge; far points move most, and slightly back."""
    x, y, z = face.local.T
    share = smoothstep(-0.06, 0.26, y) * (1 - 0.55 * smoothstep(0.45, 0.85, np.abs(x)))
    share = share.astype(float)
    share[lips.is_lip] = 0
    share[lips.lower] = _AT_CORNER + (1 - _AT_CORNER) * lips.along_lower[lips.lower] ** 1.35
    share[lips.corner] = _AT_CORNER
    share[lips.is_below] = np.maximum(share[lips.is_below], 0.80)
    hinge_y, hinge_z = face.hinge
    reach = max(0.5, float(hinge_z - face.local[INNER_LIPS[1], 2]))
    result = np.zeros((_POINTS, 3))
    result[:, 1] = _JAW_DROP * share * (hinge_z - z) / reach
    result[:, 2] = _JAW_DROP * share * (y - hinge_y) / reach * 0.5
    result[lips.corner, 0] = -np.sign(x[lips.corner]) * 0.018
    result[:, 1] -= 0.012 * lips.along_upper * (y < 0.2)
    return result


def _wide(lips: _Lips) -> Points:
    sideways = np.where(lips.is_lip, lips.across, lips.near)
    result = np.zeros((_POINTS, 3))
    result[:, 0] = 0.050 * sideways
    result[:, 1] = -0.012 * np.abs(sideways) * np.where(lips.is_lip, np.abs(lips.across), 1)
    result[:, 2] = 0.03 * np.abs(sideways)
    return result


def _round(local: Points, lips: _Lips) -> Points:
    x, y, _ = local.T
    inwards = lips.across * (0.55 + 0.45 * np.abs(lips.across))
    around = np.exp(-((x / 0.28) ** 2) - (y / 0.16) ** 2) * 0.6
    result = np.zeros((_POINTS, 3))
    result[:, 0] = -0.085 * np.where(lips.is_lip, inwards, lips.near * 0.9)
    result[:, 2] = -0.07 * np.where(lips.is_lip, 1 - 0.4 * lips.across**2, around)
    _spread(result[:, 1], UPPER_LIP, (-0.022, -0.016, -0.010, -0.006), lips.along_upper)
    _spread(result[:, 1], LOWER_LIP, (0.020, 0.018, 0.016, 0.014), lips.along_lower)
    return result


def _press(lips: _Lips) -> Points:
    result = np.zeros((_POINTS, 3))
    upper, lower = 0.4 + 0.6 * lips.along_upper, 0.4 + 0.6 * lips.along_lower
    _spread(result[:, 1], UPPER_LIP, (0.012, 0.012, 0.010, 0.006), upper)
    _spread(result[:, 1], LOWER_LIP, (-0.022, -0.018, -0.012, -0.006), lower)
    result[lips.is_below, 1] = -0.010
    return result


def _tuck(lips: _Lips) -> Points:
    """Move the lower lip up and back under the teeth, and the upper one off them."""
    result = np.zeros((_POINTS, 3))
    _spread(result[:, 1], LOWER_LIP, (-0.014, -0.014, -0.012, -0.010), lips.along_lower)
    result[lips.lower, 2] = 0.03 * lips.along_lower[lips.lower]
    _spread(result[:, 1], UPPER_LIP, (-0.020, -0.022, -0.024, -0.026), lips.along_upper)
    return result


def _raise_lip(local: Points, lips: _Lips) -> Points:
    """Raise the upper lip, and with it the cheeks."""
    result = np.zeros((_POINTS, 3))
    upper = 0.25 + 0.75 * lips.along_upper
    _spread(result[:, 1], UPPER_LIP, (-0.027, -0.030, -0.032, -0.035), upper)
    result[lips.corner, 1] = -0.008
    x, y, _ = local[~lips.is_lip].T
    beside = (np.abs(x) - lips.half_width * 1.15) / 0.14
    result[~lips.is_lip, 1] -= 0.016 * np.exp(-(beside**2) - ((y + 0.12) / 0.14) ** 2)
    return result


def _brow(local: Points) -> Reals:
    """Return how far each point goes down: from none at the eyes to most at the brows."""
    y = local[:, 1]
    eyes, brows = y[list(EYE_CORNERS)].mean(), y[list(BROWS)].mean()
    above = smoothstep(eyes - 0.02, brows, y)
    crown = smoothstep(brows - 0.05, y[FOREHEAD], y)
    result: Reals = (-0.055 * above * (1 - 0.75 * crown)).astype(float)
    return result
