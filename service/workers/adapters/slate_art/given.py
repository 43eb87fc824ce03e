"""The slate's background where a picture or film is given: what was given, seen as it is."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions, Frame

Ground = Callable[[int], Frame]  # draws a new frame at an index


def given(conditions: Conditions, request: VideoRequest, drawn: Ground) -> Ground:
    """`drawn` is the background of a video from text alone. A film fades into it by the strength of
    the request; from a first picture to a last one it is a dissolve, of which the first frame is
    the one and the last frame the other."""
    film, image, last_image = conditions.video, conditions.image, conditions.last_image
    if film is not None:
        strength = 1.0 if request.strength is None else request.strength
        return lambda index: _mix(film[index], drawn(index), strength)
    if last_image is not None:
        begin = drawn if image is None else _still(image)
        steps = max(1, request.num_frames - 1)
        return lambda index: _mix(begin(index), last_image, index / steps)
    return drawn if image is None else _still(image)


def _still(picture: Frame) -> Ground:
    return lambda _index: picture.copy()


def _mix(one: Frame, other: Frame, share: float) -> Frame:
    """`share` of the other one, in steps of 1/256."""
    of_other = round(share * 256)
    mixed: NDArray[np.uint16] = one.astype(np.uint16) * np.uint16(256 - of_other)
    mixed += other.astype(np.uint16) * np.uint16(of_other)
    mixed >>= 8
    return mixed.astype(np.uint8)
