"""Curves and surfaces through points."""

import cv2
import numpy as np
from numpy.typing import NDArray

from service.workers.puppet.face import Floats, Reals

_BLOCK = 1024  # places at a time
_SMOOTHING = 2e-4


class Surface:
    """A thin-plate spline: values at points, spread smoothly over the plane.

    `points`, (n, 2), are divided by `scale` to be of the order of one; `values` are (n, values).
    """

    def __init__(self, points: Reals, values: Reals, scale: float) -> None:
        self._points, self._scale = points / scale, scale
        count = len(points)
        matrix = np.zeros((count + 3, count + 3))
        matrix[:count, :count] = self._kernel(self._points)
        matrix[np.arange(count), np.arange(count)] += _SMOOTHING
        matrix[:count, count:] = _plane(self._points)
        matrix[count:, :count] = matrix[:count, count:].T
        padding = np.zeros((3, values.shape[1]))
        self._weights = np.linalg.solve(matrix, np.vstack([values, padding]))

    def at(self, places: Reals) -> Floats:
        """Return the values at `places`, (m, 2): (m, values)."""
        result = np.empty((len(places), self._weights.shape[1]), np.float32)
        for first in range(0, len(places), _BLOCK):
            block = places[first : first + _BLOCK] / self._scale
            basis = np.hstack([self._kernel(block), _plane(block)])
            result[first : first + _BLOCK] = basis @ self._weights
        return result

    def on_grid(self, columns: NDArray[np.intp], rows: NDArray[np.intp]) -> Floats:
        """Return the values at each of `rows` and `columns`, evenly apart: (values, rows, columns).

        Every second node is computed, and those between by a cubic.
        """
        across, down = _every_second(columns), _every_second(rows)
        places = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2).astype(float)
        coarse = self.at(places).reshape(len(down), len(across), -1)
        halve = np.array([[0.5, 0, 0], [0, 0.5, 0]], np.float32)
        channels = [
            cv2.warpAffine(
                np.ascontiguousarray(coarse[..., index]),
                halve,
                (len(columns), len(rows)),
                flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for index in range(coarse.shape[2])
        ]
        return np.stack(channels).astype(np.float32)

    def _kernel(self, places: Reals) -> Reals:
        lengths = (places**2).sum(1)[:, None] + (self._points**2).sum(1)[None]
        squares = np.maximum(lengths - 2 * places @ self._points.T, 1e-12)
        result: Reals = squares * np.log(squares) * 0.5
        return result


def _plane(places: Reals) -> Reals:
    return np.column_stack([np.ones(len(places)), places])


def _every_second(nodes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return every second node, with one after the last where that would be left out."""
    step = nodes[1] - nodes[0]
    return np.arange(nodes[0], nodes[-1] + step + 1, 2 * step)


def resample(points: Reals, count: int) -> Reals:
    """Return `count` points of the Catmull-Rom curve through `points`, (n, 2)."""
    before, after = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
    wide = np.vstack([before, points, after])
    at = np.linspace(0, len(points) - 1, count)
    first = np.minimum(at.astype(int), len(points) - 2)
    t = (at - first)[:, None]
    a, b, c, d = (wide[first + index] for index in range(4))
    cubic = (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    result: Reals = 0.5 * (2 * b + (c - a) * t + cubic)
    return result
