"""Displacement fields: how every pixel of a photo moves by every blend shape."""

from dataclasses import dataclass

import cv2
import numpy as np

from service.workers.adapters.base import Frame
from service.workers.puppet.anatomy import Anatomy, smoothstep
from service.workers.puppet.face import CHIN, FOREHEAD, Floats, Reals
from service.workers.puppet.landmarks import CORNERS, LOWER_LIP, OVAL, UPPER_LIP
from service.workers.puppet.pose import BlendShape
from service.workers.puppet.shapes import NUM_SHAPES, blend_shapes, head_shapes
from service.workers.puppet.spline import Surface

CELL = 4  # pixels between nodes of a field
# Rings around the face: their size in faces, the share of the head's motion, every nth point.
_RINGS = ((1.38, 0.95, 1), (2.0, 0.45, 2), (3.0, 0.12, 3))
_BORDER_POINTS = 7  # on each edge of the image
_PIN = 0.08  # of the short side: how far from the edges pixels begin to move freely
_MARGIN = 40  # pixels outside the image where rings are kept


@dataclass(frozen=True)
class Rect:
    """A part of an image, in pixels; the right and the bottom edge are outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    def of(self, image: Frame) -> Frame:
        """Return a view of this part of an image."""
        return image[self.top : self.bottom, self.left : self.right]


def rect_around(places: Floats, width: int, height: int) -> Rect:
    """Return the smallest part of an image that holds `places`, (n, 2)."""
    left, top = np.maximum(np.floor(places.min(0)).astype(int), 0).tolist()
    right, bottom = np.minimum(np.ceil(places.max(0)).astype(int), (width, height)).tolist()
    return Rect(left, top, max(left, right), max(top, bottom))


class Field:
    """A displacement of the pixels of `area` for every BlendShape, on nodes that are CELL apart."""

    def __init__(self, surface: Surface, area: Rect, image: Rect) -> None:
        columns = np.arange(area.left // CELL * CELL, area.right + CELL, CELL)
        rows = np.arange(area.top // CELL * CELL, area.bottom + CELL, CELL)
        values = surface.on_grid(columns, rows)
        shape = (NUM_SHAPES, 2, len(rows), len(columns))
        self._shapes = np.ascontiguousarray(values.reshape(shape).transpose(0, 2, 3, 1))
        self._nodes = np.stack(np.meshgrid(columns, rows), -1).astype(np.float32)
        self._shapes *= _looseness(self._nodes, image)[:, :, None]
        self._origin = self._nodes[0, 0]

    def draw(self, image: Frame, weights: Floats, part: Rect) -> Frame:
        """Return `part` of `image` as it is after the displacement by `weights`, (14,)."""
        places = self._sources(weights)
        left, top = (part.left, part.top) - self._origin
        matrix = np.array([[1 / CELL, 0, left / CELL], [0, 1 / CELL, top / CELL]], np.float32)
        dense = cv2.warpAffine(
            places,
            matrix,
            (part.width, part.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        result: Frame = cv2.remap(
            image, dense, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
        return result

    def _sources(self, weights: Floats) -> Floats:
        """Return where in the photo each node's pixel comes from: (rows, columns, 2).

        The displacement is known where pixels start, and is inverted by repetition; nowhere does
        it stretch by more than one.
        """
        total = self._shapes[0] * weights[0]
        for shape, weight in zip(self._shapes[1:], weights[1:].tolist(), strict=True):
            if weight:
                cv2.scaleAdd(shape, weight, total, total)
        places = self._nodes - total
        for _ in range(3):
            at = (places - self._origin) / np.float32(CELL)
            moved = cv2.remap(total, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            places = self._nodes - moved
        result: Floats = places
        return result


def _looseness(nodes: Floats, image: Rect) -> Floats:
    """Return how freely nodes move, 0 to 1: the edges stand still, but for the body's at the foot.

    Else pixels from beyond the edge, of which there are none, would be seen.
    """
    depth = _PIN * min(image.width, image.height)
    x, y = nodes[..., 0], nodes[..., 1]
    near = np.minimum(np.minimum(x - image.left, image.right - x), y - image.top)
    return smoothstep(0, depth, near)


@dataclass(frozen=True)
class Contour:
    """Points of a curve on the face, and how each BlendShape moves them; in pixels."""

    points: Floats  # (n, 2)
    shapes: Floats  # (14, n, 2)

    def move(self, weights: Floats) -> Floats:
        """Return the points in a pose: (n, 2)."""
        result: Floats = self.points + (weights[:, None, None] * self.shapes).sum(0)
        return result


def contour_on(surface: Surface, points: Reals) -> Contour:
    """Read from `surface` how `points`, (n, 2), move."""
    shapes = surface.at(points).reshape(len(points), NUM_SHAPES, 2).transpose(1, 0, 2)
    return Contour(points.astype(np.float32), np.ascontiguousarray(shapes))


def make_surfaces(face: Anatomy, width: int, height: int) -> tuple[Surface, Surface]:
    """Return the displacement without the lower lip, and that without the upper one.

    A smooth field cannot open a mouth. Two of them can, each blind to one lip, as they agree
    everywhere else.
    """
    mesh = blend_shapes(face)
    places, moves = _surroundings(face, width, height)
    return (
        _surface(face, mesh, _inner_points(LOWER_LIP), places, moves),
        _surface(face, mesh, _inner_points(UPPER_LIP), places, moves),
    )


def _inner_points(rows: tuple[tuple[int, ...], ...]) -> list[int]:
    return sorted({point for row in rows for point in row}.difference(CORNERS))


def _surface(
    face: Anatomy, mesh: Reals, without: list[int], places: Reals, moves: Reals
) -> Surface:
    points = np.setdiff1d(np.arange(len(face.points)), without)
    values = np.concatenate([mesh[:, points], moves], axis=1)
    flat = values.transpose(1, 0, 2).reshape(values.shape[1], -1)
    return Surface(np.vstack([face.points[points, :2], places]), flat, face.unit)


def _surroundings(face: Anatomy, width: int, height: int) -> tuple[Reals, Reals]:
    """Return places around the face, (n, 2), and how they move: (14, n, 2)."""
    flat = face.points[:, :2]
    centre = (flat[FOREHEAD] + flat[CHIN]) / 2
    outline = flat[list(OVAL)] - centre
    places, moves = [], []
    for size, share, step in _RINGS:
        ring = _inside((centre + outline * size)[::step], width, height)
        places.append(ring)
        moves.append(_outer_moves(face, ring, share))
    border = _border(width, height)
    still = _outer_moves(face, border, 0.0)
    still[BlendShape.BREATH] *= np.clip((border[:, 1:] / height - 0.5) * 2, 0, 1)
    return np.vstack([*places, border]), np.concatenate([*moves, still], axis=1)


def _inside(places: Reals, width: int, height: int) -> Reals:
    is_near = (places > -_MARGIN) & (places < np.array([width, height]) + _MARGIN)
    return places[is_near.all(1)]


def _border(width: int, height: int) -> Reals:
    """Return points along the edges of the image: (n, 2)."""
    across, down = np.linspace(0, width, _BORDER_POINTS), np.linspace(0, height, _BORDER_POINTS)
    grid = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2)
    border: Reals = grid[((grid == 0) | (grid == (width, height))).any(1)]
    return border


def _outer_moves(face: Anatomy, places: Reals, share: float) -> Reals:
    """Return how places off the face move: (14, n, 2).

    Hair and ears go with the head by `share`, 0 to 1; shoulders only breathe.
    """
    result = np.zeros((NUM_SHAPES, len(places), 2))
    away = (places - face.mouth[:2]) / face.unit
    local = np.column_stack([away @ face.axes[0, :2], away @ face.axes[1, :2]])
    neck = smoothstep(0.55, 1.3, _below_chin(face, places)).astype(float)
    moves = (head_shapes(face, local) @ face.axes)[:, :, :2] * face.unit
    result[BlendShape.YAW : BlendShape.DY + 1] = moves * (share * (1 - neck))[:, None]
    swell = np.clip(0.3 + 0.7 * share + 0.7 * neck, 0, 1)
    result[BlendShape.BREATH, :, 1] = -face.unit * (0.010 + 0.012 * neck) * swell
    return result


def _below_chin(face: Anatomy, places: Reals) -> Reals:
    """Return how far places are below the chin, in eye distances."""
    chin, forehead = face.points[CHIN, :2], face.points[FOREHEAD, :2]
    down = (chin - forehead) / np.linalg.norm(chin - forehead)
    result: Reals = (places - chin) @ down / face.unit
    return result
