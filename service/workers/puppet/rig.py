"""A portrait that can take poses: the photo's own pixels, displaced, around a painted mouth.

The photo is cut at the lip line and at the lids, as no smooth warp opens a mouth or shuts an eye.
"""

import numpy as np

from service.workers.adapters.base import Frame
from service.workers.puppet.anatomy import measure_face, read_colours
from service.workers.puppet.fields import (
    Contour,
    Field,
    Rect,
    contour_on,
    make_surfaces,
    rect_around,
)
from service.workers.puppet.landmarks import LIDS, LOWER_LIP, UPPER_LIP
from service.workers.puppet.lids import Lid
from service.workers.puppet.mouth import Mouth
from service.workers.puppet.photo import Portrait
from service.workers.puppet.pose import Pose
from service.workers.puppet.spline import Surface, resample

_LIP_POINTS, _LID_POINTS = 41, 25
_CHIN_REACH = 1.1  # of the mouth's parts, in eye distances


class Rig:
    """A portrait with its fields; making one takes about 0.06 s of one core at 512 pixels."""

    def __init__(self, portrait: Portrait) -> None:
        self._image = np.ascontiguousarray(portrait.image)
        height, width = self._image.shape[:2]
        face = measure_face(self._image, portrait.points)
        upper, lower = make_surfaces(face, width, height)

        def contour(surface: Surface, points: tuple[int, ...], count: int) -> Contour:
            return contour_on(surface, resample(face.points[list(points), :2], count))

        lips = (
            contour(upper, UPPER_LIP[-1], _LIP_POINTS),
            contour(lower, LOWER_LIP[-1], _LIP_POINTS),
        )
        reach = _CHIN_REACH * face.unit
        below = rect_around(face.mouth[:2] + np.array([[-reach], [reach]]), width, height)
        self._whole = Rect(0, 0, width, height)
        self._upper = Field(upper, self._whole, self._whole)
        colours = read_colours(self._image, face)
        self.mouth = Mouth(face, lips, Field(lower, below, self._whole), colours)
        self._lids = [
            Lid(
                face,
                side,
                (contour(upper, top, _LID_POINTS), contour(upper, bottom, _LID_POINTS)),
                self.mouth.softness,
            )
            for side, (top, bottom) in enumerate(LIDS)
        ]

    def draw(self, pose: Pose) -> Frame:
        """Draw the portrait in a pose: a new frame of the portrait's size."""
        weights = pose.weights()
        frame = self._upper.draw(self._image, weights, self._whole)
        self.mouth.draw(self._image, frame, pose, weights)
        for lid in self._lids:
            lid.draw(frame, pose.blink, weights)
        return frame
