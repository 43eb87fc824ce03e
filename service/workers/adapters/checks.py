"""Reject inputs that a diffusers pipeline would silently round, truncate or ignore."""

from collections.abc import Iterator

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.media import Feature
from service.domain.models.card import ModelCard
from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions, Frames


def check_tokens(card: ModelCard, text_name: str, tokens: int, max_tokens: int) -> None:
    if tokens > max_tokens:
        raise _refused(
            "prompt_too_long",
            f"the {text_name} is {tokens} tokens long; {card.name} reads at most {max_tokens}; "
            "shorten it",
        )


def check_frames(card: ModelCard, request: VideoRequest) -> None:
    for name, value, values in (
        ("frames", request.num_frames, card.frames),
        ("pixels of width", request.width, card.side),
        ("pixels of height", request.height, card.side),
    ):
        if value not in values:
            nearest = " or ".join(map(str, values.neighbours(value)))
            raise _refused(
                "not_a_step", f"{card.name} cannot make {value} {name}; nearest: {nearest}"
            )


def check_conditions(card: ModelCard, request: VideoRequest, conditions: Conditions) -> None:
    """Check that the model supports each condition, its size, and that none excludes another."""
    inputs = list(_inputs(conditions))
    features = {feature for feature, _ in inputs}
    for feature in features:
        if feature not in card.features:
            raise _refused("not_supported", f"{card.name} does not support {feature}")
    starts = features - {"last-image", "keyframes"}
    if len(starts) > 1 or (conditions.video is not None and len(features) > 1):
        raise _refused("not_supported", f"{' and '.join(sorted(features))} exclude each other")
    for feature, frames in inputs:
        if frames.shape[-3:] != (request.height, request.width, 3):
            raise _refused(
                "wrong_size", f"the input of {feature} does not have the size of the clip"
            )
    _check_positions(card, request, conditions)


def _check_positions(card: ModelCard, request: VideoRequest, conditions: Conditions) -> None:
    """Check the frame indices and lengths of the conditions."""
    if conditions.video is not None and len(conditions.video) != request.num_frames:
        raise _refused(
            "wrong_length",
            f"a video of {len(conditions.video)} frames cannot become {request.num_frames}",
        )
    for frame, _ in conditions.keyframes:
        if frame % card.frames.step or not 0 < frame < request.num_frames:
            raise _refused("not_a_step", f"{card.name} cannot show an image at frame {frame}")
    if conditions.tail is not None:
        _check_tail(card, request, len(conditions.tail))


def _inputs(conditions: Conditions) -> Iterator[tuple[Feature, Frames]]:
    """Yield each condition that is set with the feature that it needs."""
    inputs: list[tuple[Feature, Frames | None]] = [
        ("image-to-video", conditions.image),
        ("last-image", conditions.last_image),
        *(("keyframes", image) for _, image in conditions.keyframes),
        ("video-to-video", conditions.video),
        ("continuation", conditions.tail),
    ]
    return ((feature, frames) for feature, frames in inputs if frames is not None)


def _check_tail(card: ModelCard, request: VideoRequest, frames: int) -> None:
    step = card.frames.step
    if (frames - 1) % step or frames >= request.num_frames:
        raise _refused(
            "not_a_step",
            f"{card.name} continues 1 or {step}n + 1 frames, fewer than it generates, not {frames}",
        )


def _refused(code: str, message: str) -> AttemptFailed:
    """Build a failure that another model may avoid (`of_model`)."""
    return AttemptFailed(FailureKind.USER, code, message, of_model=True)
