"""The slate's background for requests with input images or an input video."""

from bisect import bisect_right
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions, Frame

Ground = Callable[[int], Frame]  # draws a new frame at an index


def make_ground(conditions: Conditions, request: VideoRequest, text_ground: Ground) -> Ground:
    """Return the background of a request; `text_ground` is the one of text to video.

    An input video is mixed with it by the request's strength; images dissolve into each other, each
    fully visible at its own frame.
    """
    video, image, last_image = conditions.video, conditions.image, conditions.last_image
    if video is not None:
        strength = 1.0 if request.strength is None else request.strength
        return lambda index: _mix(video[index], text_ground(index), strength)
    keyframes = sorted(conditions.keyframes, key=lambda keyframe: keyframe[0])
    stops = [(0, text_ground if image is None else _still(image))]
    stops += [(frame, _still(keyframe)) for frame, keyframe in keyframes]
    if last_image is not None:
        stops.append((max(1, request.num_frames - 1), _still(last_image)))
    return _dissolve(stops)


def _dissolve(stops: list[tuple[int, Ground]]) -> Ground:
    """Dissolve from each stop, a frame index with its background, to the next."""
    indices, grounds = zip(*stops, strict=True)

    def ground(index: int) -> Frame:
        stop = bisect_right(indices, index) - 1
        frame: Frame = grounds[stop](index)
        if stop + 1 == len(stops):
            return frame
        share = (index - indices[stop]) / (indices[stop + 1] - indices[stop])
        return _mix(frame, grounds[stop + 1](index), share)

    return ground


def _still(image: Frame) -> Ground:
    return lambda _index: image.copy()


def _mix(first: Frame, second: Frame, share: float) -> Frame:
    """Mix two frames; `share` is the second's, 0 to 1, in steps of 1/256."""
    weight = round(share * 256)
    levels: NDArray[np.uint16] = first.astype(np.uint16) * np.uint16(256 - weight)
    levels += second.astype(np.uint16) * np.uint16(weight)
    levels >>= 8
    return levels.astype(np.uint8)
