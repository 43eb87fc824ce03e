"""Size and length that were not asked for in numbers: those of what a video is made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, sqrt

from service.domain.media import MediaRef, Role, keyframe_role
from service.domain.models.card import IntRange, ModelCard
from service.domain.request import VideoParams


@dataclass(frozen=True)
class Wanted:
    """Not yet checked: what was asked for comes through as it is."""

    width: int
    height: int
    fps: int
    seconds: float


def wanted(ask: VideoParams, card: ModelCard, media: Mapping[Role, MediaRef]) -> Wanted:
    """What is asked for; else what the film or picture has; else the card's defaults."""
    guide = media.get("video") or media.get("image") or media.get(keyframe_role(0))
    width, height = _size(ask, card, guide)
    fps = ask.fps or _fps(card, guide)
    return Wanted(width, height, fps, ask.duration_seconds or _seconds(card, guide, fps))


def _size(ask: VideoParams, card: ModelCard, guide: MediaRef | None) -> tuple[int, int]:
    if guide is None or guide.width is None or guide.height is None:
        return ask.width or card.default_width, ask.height or card.default_height
    if ask.width is not None and ask.height is not None:
        return ask.width, ask.height
    if ask.width is not None:
        return ask.width, card.side.nearest(ask.width * guide.height / guide.width)
    if ask.height is not None:
        return card.side.nearest(ask.height * guide.width / guide.height), ask.height
    if guide.source == "job" and _possible(card, guide.width, guide.height):
        return guide.width, guide.height  # the next clip of a series is as large as the last
    return same_shape(card, guide.width, guide.height)


def same_shape(card: ModelCard, width: int, height: int) -> tuple[int, int]:
    """A size that the model makes, with the shape of `width` x `height` as nearly as can be and
    about as many pixels as its default."""
    pixels = card.default_width * card.default_height
    across, down = sqrt(pixels * width / height), sqrt(pixels * height / width)
    sizes = [
        (wide, tall)
        for wide in _around(card.side, across)
        for tall in _around(card.side, down)
        if _possible(card, wide, tall)
    ]

    def badness(size: tuple[int, int]) -> float:
        """A wrong shape is seen; a few pixels more or less are not."""
        shape = abs(log(size[0] / size[1]) - log(width / height))
        return 4 * shape + abs(log(size[0] * size[1] / pixels))

    return min(sizes, key=badness, default=(card.default_width, card.default_height))


def _around(side: IntRange, length: float) -> set[int]:
    return {side.nearest(length + step * side.step) for step in (-1, 0, 1)}


def _possible(card: ModelCard, width: int, height: int) -> bool:
    return width in card.side and height in card.side and width * height <= card.max_pixels


def _fps(card: ModelCard, guide: MediaRef | None) -> int:
    if guide is not None and guide.fps is not None and guide.fps in card.fps:
        return guide.fps
    return card.default_fps


def _seconds(card: ModelCard, guide: MediaRef | None, fps: int) -> float:
    """A film that is longer than the model's longest is cut."""
    if guide is None or guide.fps is None or guide.num_frames is None:
        return card.default_seconds
    return min(guide.num_frames / guide.fps, card.max_frames(fps) / fps)
