"""The slate's background where a picture or film is given: what was given, seen as it is."""

from bisect import bisect_right
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions, Frame

Ground = Callable[[int], Frame]  # draws a new frame at an index


def given(conditions: Conditions, request: VideoRequest, drawn: Ground) -> Ground:
    """`drawn` is the background of a video from text alone. A film fades into it by the strength of
    the request; from one picture to the next it is a dissolve, each seen alone at its own frame."""
    film, image, last_image = conditions.video, conditions.image, conditions.last_image
    if film is not None:
        strength = 1.0 if request.strength is None else request.strength
        return lambda index: _mix(film[index], drawn(index), strength)
    stops = [(0, drawn if image is None else _still(image))]
    stops += [(frame, _still(picture)) for frame, picture in sorted(conditions.keyframes, key=_at)]
    if last_image is not None:
        stops.append((max(1, request.num_frames - 1), _still(last_image)))
    return _dissolving(stops)


def _at(keyframe: tuple[int, Frame]) -> int:
    return keyframe[0]


def _dissolving(stops: list[tuple[int, Ground]]) -> Ground:
    """From each stop to the next one; after the last it stays."""

    places, grounds = zip(*stops, strict=True)

    def ground(index: int) -> Frame:
        at = bisect_right(places, index) - 1
        before: Frame = grounds[at](index)
        if at + 1 == len(stops):
            return before
        share = (index - places[at]) / (places[at + 1] - places[at])
        return _mix(before, grounds[at + 1](index), share)

    return ground


def _still(picture: Frame) -> Ground:
    return lambda _index: picture.copy()


def _mix(one: Frame, other: Frame, share: float) -> Frame:
    """`share` of the other one, in steps of 1/256."""
    of_other = round(share * 256)
    mixed: NDArray[np.uint16] = one.astype(np.uint16) * np.uint16(256 - of_other)
    mixed += other.astype(np.uint16) * np.uint16(of_other)
    mixed >>= 8
    return mixed.astype(np.uint8)
