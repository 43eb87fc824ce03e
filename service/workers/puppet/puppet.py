"""Frames of a talking portrait."""

from collections.abc import Iterator

import cv2

from service.workers.adapters.base import Frame
from service.workers.puppet.articulation import Curve
from service.workers.puppet.lips import Sound
from service.workers.puppet.motion import FPS as FPS
from service.workers.puppet.motion import direct
from service.workers.puppet.photo import Portrait
from service.workers.puppet.rig import Rig


def draw_frames(
    portrait: Portrait,
    lips: Curve,
    sound: Sound,
    num_frames: int,
    seed: int,
    *,
    start: int = 0,
) -> Iterator[Frame]:
    """Draw frames `start` to `num_frames` of a portrait that speaks, FPS a second.

    `lips` and `sound` are those of the whole clip. Frame k is the same to the bit whatever `start`
    and `num_frames` are. One thread is used: fields are too small to share, and threads that wait
    for each other on a busy machine take ten times as long.
    """
    cv2.setNumThreads(1)
    rig = Rig(portrait)
    motion = direct(lips, sound, num_frames, seed)
    for index in range(start, num_frames):
        yield rig.draw(motion.pose(index))
