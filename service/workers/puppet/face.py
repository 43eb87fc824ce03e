"""Find faces in an image, and the 468 points of MediaPipe's mesh on each of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from service.workers.adapters.base import Frame

# Arrays of a face are too small to share, and threads that wait for each other on a busy machine
# take ten times as long. For the process, as every part that computes on faces imports this module,
# and limits that end would end those of another job.
cv2.setNumThreads(1)
threadpool_limits(limits=1, user_api="blas")

# Points of a face in pixels of its image: float64, (468, 3); z is smaller towards the camera.
Points: TypeAlias = NDArray[np.float64]
# Real numbers, where geometry is computed once; shapes are given where they are used.
Reals: TypeAlias = NDArray[np.float64]
# Those of single frames, mostly float32.
Floats: TypeAlias = NDArray[np.floating[Any]]

LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue

# Points of the mesh, as MediaPipe numbers them. Right and left are those of the person.
OUTER_EYES = (33, 263)
MOUTH_CORNERS = (61, 291)
FOREHEAD, CHIN = 10, 152
INNER_LIPS = (13, 14)  # upper, lower

_MODELS = Path(__file__).parent / "models"
_DETECTOR_SIDE = 128  # pixels
_GRIDS = ((8, 2), (16, 6))  # pixels of a cell, and anchors in it
_MESH_SIDE = 192  # pixels
_CROP = 1.5  # sides of the mesh's crop in sides of the face
_MIN_SCORE, _MAX_OVERLAP = 0.5, 0.3  # of the boxes of faces
_MIN_EVIDENCE = 6.0  # photos have 12 and more, upright; drawn smileys and cats less than 4


@dataclass(frozen=True)
class Box:
    """A face as the detector sees it, in pixels of the image."""

    left: float
    top: float
    right: float
    bottom: float
    score: float  # 0 to 1
    # (6, 2): the person's right and left eye, nose, mouth, right and left ear.
    landmarks: Reals

    @property
    def size(self) -> float:
        return max(self.right - self.left, self.bottom - self.top)

    @property
    def centre(self) -> Reals:
        return np.array([self.left + self.right, self.top + self.bottom]) / 2

    @property
    def angle(self) -> float:
        """The direction from the right eye to the left one: radians, 0 for an upright face."""
        return _direction(self.landmarks[0], self.landmarks[1])


@dataclass(frozen=True)
class Mesh:
    """The points of one face."""

    points: Points
    # The model's evidence for a face, a logit: -10 to 45. The right way up has the most.
    evidence: float

    @property
    def is_face(self) -> bool:
        return self.evidence >= _MIN_EVIDENCE

    @property
    def eye_distance(self) -> float:
        """Pixels between the outer corners of the eyes: the unit of all that is drawn on a face."""
        right, left = self.points[list(OUTER_EYES)]
        return float(np.linalg.norm(left - right))

    @property
    def angle(self) -> float:
        """The direction from the right eye to the left one: radians, 0 for an upright face."""
        return _direction(*self.points[list(OUTER_EYES), :2])


class FaceFinder:
    """A detector for near faces and a mesh; making one takes about 50 ms."""

    def __init__(self) -> None:
        self._detector = _open("face_detection_short_range.tflite")
        self._mesh = _open("face_landmark.tflite")
        self._anchors = _make_anchors()

    def detect(self, image: Frame) -> list[Box]:
        """Find faces that are at least an eighth or so of the image, the largest first."""
        return _suppress(self._boxes(image, 0, 0))

    def detect_small(self, image: Frame) -> list[Box]:
        """Find faces from a thirtieth of the image on: in squares of a half and of a quarter of its
        longer side, each of which overlaps the next by half."""
        boxes = []
        for parts in (2, 4):
            side = max(1, max(image.shape[:2]) // parts)
            for top in _starts(image.shape[0], side):
                for left in _starts(image.shape[1], side):
                    square = image[top : top + side, left : left + side]
                    boxes += self._boxes(square, left, top)
        return _suppress(boxes)

    def _boxes(self, image: Frame, left: int, top: int) -> list[Box]:
        """Return all candidates in an image, moved by where it is in another."""
        frame, scale, margin = _letterbox(image)
        outputs = _run(self._detector, frame / 127.5 - 1.0)
        raw = next(output for output in outputs if output.shape[-1] == 16)[0]
        logits = next(output for output in outputs if output.shape[-1] == 1).ravel()
        scores = _sigmoid(logits)
        boxes = []
        for index in np.nonzero(scores >= _MIN_SCORE)[0]:
            # Centre and size of the face, then six landmarks.
            pairs = raw[index].astype(float).reshape(8, 2)
            centre, half = pairs[0] + self._anchors[index], pairs[1] / 2
            corners = (np.stack([centre - half, centre + half]) - margin) / scale + (left, top)
            landmarks = (pairs[2:] + self._anchors[index] - margin) / scale + (left, top)
            (west, north), (east, south) = corners.tolist()
            boxes.append(Box(west, north, east, south, float(scores[index]), landmarks))
        return boxes

    def mesh(self, image: Frame, box: Box, *, turn: float = 0.0) -> Mesh:
        """Fit the mesh twice: within the box, and within the first mesh, which is more exact.

        The crop is turned by the angle of the eyes plus `turn`, radians.
        """
        first = self._fit(image, box.centre, _CROP * box.size, box.angle + turn)
        return self.track(image, first.points)

    def track(self, image: Frame, points: Points) -> Mesh:
        """Fit the mesh to a face that was at `points` one frame before."""
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        angle = _direction(*points[list(OUTER_EYES), :2])
        return self._fit(image, (low + high) / 2, _CROP * float((high - low).max()), angle)

    def _fit(self, image: Frame, centre: Reals, side: float, angle: float) -> Mesh:
        scale = side / _MESH_SIDE
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
        shift = centre - turn @ np.full(2, _MESH_SIDE / 2)
        if scale > 2:  # blur before a strong reduction
            image = cv2.GaussianBlur(image, (0, 0), 0.35 * scale)
        crop = cv2.warpAffine(
            image,
            np.column_stack([turn, shift]),
            (_MESH_SIDE, _MESH_SIDE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        outputs = [output.ravel() for output in _run(self._mesh, crop / 255.0)]
        raw = next(output for output in outputs if output.size == 468 * 3).reshape(468, 3)
        logit = next(output for output in outputs if output.size == 1)
        xy = raw[:, :2].astype(float) @ turn.T + shift
        return Mesh(np.column_stack([xy, raw[:, 2] * scale]), float(logit[0]))


def fill_polygons(image: Frame, corners: Reals, *polygons: tuple[int, ...]) -> NDArray[np.bool]:
    """Return which pixels of an image are inside of polygons, whose corners are numbers of points
    in `corners`, (n, 2) or (n, 3)."""
    mask = np.zeros(image.shape[:2], np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [corners[list(polygon), :2].astype(np.int32)], 1)
    return mask > 0


def sample_pixels(image: NDArray[Any], places: Reals) -> Reals:
    """Return the values of an image between its pixels, at places (..., 2)."""
    at = places.astype(np.float32)
    values = cv2.remap(
        image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    result: Reals = values.astype(float)
    return result


def _open(name: str) -> Any:
    interpreter = Interpreter(model_path=str(_MODELS / name), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _run(interpreter: Any, image: NDArray[Any]) -> list[Floats]:
    interpreter.set_tensor(
        interpreter.get_input_details()[0]["index"], image.astype(np.float32)[None]
    )
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]


def _make_anchors() -> Reals:
    """Return the centres that the detector's boxes are relative to, in its pixels: (896, 2)."""
    grids = []
    for cell, count in _GRIDS:
        edges = (np.arange(_DETECTOR_SIDE // cell) + 0.5) * cell
        centres = np.stack(np.meshgrid(edges, edges), -1).reshape(-1, 2)
        grids.append(np.repeat(centres, count, axis=0))
    return np.concatenate(grids)


def _letterbox(image: Frame) -> tuple[Floats, Reals, Reals]:
    """Fit an image into the detector's square, with the scale and the margin, both (x, y)."""
    height, width = image.shape[:2]
    ratio = _DETECTOR_SIDE / max(width, height)
    across, down = max(1, round(width * ratio)), max(1, round(height * ratio))
    left, top = (_DETECTOR_SIDE - across) // 2, (_DETECTOR_SIDE - down) // 2
    canvas = np.zeros((_DETECTOR_SIDE, _DETECTOR_SIDE, 3), np.float32)
    small = cv2.resize(image, (across, down), interpolation=cv2.INTER_AREA)
    canvas[top : top + down, left : left + across] = small
    return canvas, np.array([across / width, down / height]), np.array([left, top], float)


def _starts(length: int, side: int) -> range:
    """Return where squares of `side` begin, half of it apart, so that all of `length` is seen."""
    step = max(1, side // 2)
    return range(0, max(1, length - side + step), step)


def _suppress(boxes: list[Box]) -> list[Box]:
    """Keep the best of boxes that overlap, the largest first."""
    result: list[Box] = []
    for box in sorted(boxes, key=lambda box: -box.score):
        if all(_overlap(box, other) < _MAX_OVERLAP for other in result):
            result.append(box)
    return sorted(result, key=lambda box: -box.size)


def _overlap(a: Box, b: Box) -> float:
    """Return the intersection of two boxes over their union."""
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box.right - box.left) * (box.bottom - box.top) for box in (a, b))
    return width * height / (areas - width * height)


def _direction(a: Reals, b: Reals) -> float:
    return float(np.arctan2(b[1] - a[1], b[0] - a[0]))


def _sigmoid(values: Floats) -> Reals:
    result: Reals = 1 / (1 + np.exp(-np.clip(values.astype(float), -80, 80)))
    return result
