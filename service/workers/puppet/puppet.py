"""Frames of a talking portrait."""

from collections.abc import Iterator

from service.workers.adapters.base import Frame
from service.workers.puppet.articulation import Curve, Waveform
from service.workers.puppet.motion import direct
from service.workers.puppet.photo import Portrait
from service.workers.puppet.rig import Rig


class Talker:
    """A portrait that speaks: its rig, and its motion over a whole video of `num_frames`.

    `lips` and `sound` are those of the whole video. Frame k is the same to the bit whatever
    `num_frames` is, and wherever drawing begins.
    """

    def __init__(
        self, portrait: Portrait, lips: Curve, sound: Waveform, num_frames: int, seed: int
    ) -> None:
        self._rig = Rig(portrait)
        self._motion = direct(lips, sound, num_frames, seed)
        self._num_frames = num_frames

    def draw(self, start: int = 0) -> Iterator[Frame]:
        """Draw the frames from `start` on, FPS a second."""
        for index in range(start, self._num_frames):
            yield self._rig.draw(self._motion.pose(index))
