"""Default size and length of a video: those of its input, or of the model's card."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, sqrt

from service.domain.media import MediaRef, Role, keyframe_role
from service.domain.models.card import IntRange, ModelCard
from service.domain.request import VideoParams


@dataclass(frozen=True)
class Dimensions:
    """Size and length, not yet checked against the card."""

    width: int
    height: int
    fps: int
    seconds: float


def resolve_dimensions(
    params: VideoParams, card: ModelCard, media: Mapping[Role, MediaRef]
) -> Dimensions:
    """Take each value from the parameters, else the input, else the card's defaults."""
    guide = media.get("video") or media.get("image") or media.get(keyframe_role(0))
    width, height = _size(params, card, guide)
    fps = params.fps or _fps(card, guide)
    return Dimensions(width, height, fps, params.duration_seconds or _seconds(card, guide, fps))


def _size(params: VideoParams, card: ModelCard, guide: MediaRef | None) -> tuple[int, int]:
    if guide is None or guide.width is None or guide.height is None:
        return params.width or card.default_width, params.height or card.default_height
    if params.width is not None and params.height is not None:
        return params.width, params.height
    if params.width is not None:
        return params.width, card.side.nearest(params.width * guide.height / guide.width)
    if params.height is not None:
        return card.side.nearest(params.height * guide.width / guide.height), params.height
    if guide.source == "job" and _possible(card, guide.width, guide.height):
        return guide.width, guide.height  # the next video of a series has the size of the last
    return same_shape(card, guide.width, guide.height)


def same_shape(card: ModelCard, width: int, height: int) -> tuple[int, int]:
    """Return the possible size that is nearest to the aspect ratio of `width` x `height` with about
    as many pixels as the default."""
    pixels = card.default_width * card.default_height
    across, down = sqrt(pixels * width / height), sqrt(pixels * height / width)
    sizes = [
        (wide, tall)
        for wide in _around(card.side, across)
        for tall in _around(card.side, down)
        if _possible(card, wide, tall)
    ]

    def penalty(size: tuple[int, int]) -> float:
        """Weigh the aspect ratio more than the number of pixels, as it is more visible."""
        shape = abs(log(size[0] / size[1]) - log(width / height))
        return 4 * shape + abs(log(size[0] * size[1] / pixels))

    return min(sizes, key=penalty, default=(card.default_width, card.default_height))


def _around(side: IntRange, length: float) -> set[int]:
    return {side.nearest(length + step * side.step) for step in (-1, 0, 1)}


def _possible(card: ModelCard, width: int, height: int) -> bool:
    return width in card.side and height in card.side and width * height <= card.max_pixels


def _fps(card: ModelCard, guide: MediaRef | None) -> int:
    if guide is not None and guide.fps is not None and guide.fps in card.fps:
        return guide.fps
    return card.default_fps


def _seconds(card: ModelCard, guide: MediaRef | None, fps: int) -> float:
    """Return the length of the input video, up to the model's limit, or the default."""
    if guide is None or guide.fps is None or guide.num_frames is None:
        return card.default_seconds
    return min(guide.num_frames / guide.fps, card.max_frames(fps) / fps)
