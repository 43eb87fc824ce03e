"""The pose of a face in one frame, as weights of its blend shapes."""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from service.workers.puppet.articulation import (
    JAW,
    LIFT,
    PRESS,
    REST,
    ROUND,
    TUCK,
    WIDE,
)
from service.workers.puppet.face import Floats


class BlendShape(IntEnum):
    """A way in which the face moves: one displacement of all its points at weight 1."""

    CLOSE = 0  # the photo's own lips brought together
    JAW = 1
    WIDE = 2
    ROUND = 3
    PRESS = 4
    TUCK = 5
    LIFT = 6
    BROW = 7
    YAW = 8
    PITCH = 9
    ROLL = 10
    DX = 11
    DY = 12
    BREATH = 13


# Those of the mouth, which the skull and its upper teeth do not follow.
MOUTH_SHAPES = [
    BlendShape.JAW,
    BlendShape.WIDE,
    BlendShape.ROUND,
    BlendShape.PRESS,
    BlendShape.TUCK,
    BlendShape.LIFT,
]


@dataclass(frozen=True)
class Pose:
    """The whole face in one frame; as it is by default, it rests with closed lips."""

    # (7,), 0 to 1, in the order of articulation.Curve.
    mouth: Floats = field(default_factory=lambda: np.array(REST, np.float32))
    blink: float = 0.0  # 0 to 1, eyes shut
    brow: float = 0.0  # -1 to 1, raised
    yaw: float = 0.0  # degrees, as are the next two
    pitch: float = 0.0
    roll: float = 0.0
    dx: float = 0.0  # eye distances to the right
    dy: float = 0.0  # eye distances down
    breath: float = 0.0  # -1 to 1

    def weights(self) -> Floats:
        """Return the weight of each BlendShape: (14,)."""
        mouth = self.mouth
        lift = mouth[LIFT] * (0.35 + 0.65 * min(1.0, float(mouth[JAW]) * 4))
        lips = (mouth[JAW], mouth[WIDE] - REST[WIDE], mouth[ROUND], mouth[PRESS], mouth[TUCK], lift)
        head = (self.brow, self.yaw, self.pitch, self.roll, self.dx, self.dy, self.breath)
        return np.array((1.0, *lips, *head), np.float32)
