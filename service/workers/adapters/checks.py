"""Refuses what a diffusers pipeline would take and silently round, cut or leave out."""

from collections.abc import Iterator

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.media import Feature
from service.domain.models.card import ModelCard
from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions, Film


def check_tokens(card: ModelCard, what: str, tokens: int, most: int) -> None:
    if tokens > most:
        raise _refused(
            "prompt_too_long",
            f"the {what} is {tokens} tokens long and {card.name} reads at most {most}; shorten it",
        )


def check_frames(card: ModelCard, request: VideoRequest) -> None:
    for name, value, allowed in (
        ("frames", request.num_frames, card.frames),
        ("pixels of width", request.width, card.side),
        ("pixels of height", request.height, card.side),
    ):
        if value not in allowed:
            nearest = " or ".join(map(str, allowed.neighbours(value)))
            raise _refused(
                "not_a_step", f"{card.name} cannot make {value} {name}; nearest: {nearest}"
            )


def check_conditions(card: ModelCard, request: VideoRequest, conditions: Conditions) -> None:
    """Each must be one that the model follows, of the size of the clip, and not two for one end."""
    given = list(_given(conditions))
    features = {feature for feature, _ in given}
    for feature in features:
        if feature not in card.features:
            raise _refused("not_supported", f"{card.name} does not do {feature}")
    starts = features - {"last-image", "keyframes"}
    if len(starts) > 1 or (conditions.video is not None and len(features) > 1):
        raise _refused("not_supported", f"{' and '.join(sorted(features))} exclude each other")
    for feature, pictures in given:
        if pictures.shape[-3:] != (request.height, request.width, 3):
            raise _refused("wrong_size", f"the input of {feature} is not of the clip's size")
    _check_places(card, request, conditions)


def _check_places(card: ModelCard, request: VideoRequest, conditions: Conditions) -> None:
    """Each must lie where the model can follow it."""
    if conditions.video is not None and len(conditions.video) != request.num_frames:
        raise _refused(
            "wrong_length",
            f"a video of {len(conditions.video)} frames cannot become {request.num_frames}",
        )
    for frame, _ in conditions.keyframes:
        if frame % card.frames.step or not 0 < frame < request.num_frames:
            raise _refused("not_a_step", f"{card.name} can show no picture at frame {frame}")
    if conditions.tail is not None:
        _check_tail(card, request, len(conditions.tail))


def _given(conditions: Conditions) -> Iterator[tuple[Feature, Film]]:
    """Each condition that is there, by the feature that follows it."""
    everything: list[tuple[Feature, Film | None]] = [
        ("image-to-video", conditions.image),
        ("last-image", conditions.last_image),
        *(("keyframes", picture) for _, picture in conditions.keyframes),
        ("video-to-video", conditions.video),
        ("continuation", conditions.tail),
    ]
    return ((feature, film) for feature, film in everything if film is not None)


def _check_tail(card: ModelCard, request: VideoRequest, frames: int) -> None:
    step = card.frames.step
    if (frames - 1) % step or frames >= request.num_frames:
        raise _refused(
            "not_a_step",
            f"{card.name} continues 1 frame or {step}n + 1, fewer than it makes, not {frames}",
        )


def _refused(code: str, message: str) -> AttemptFailed:
    """By what this model cannot: another one may."""
    return AttemptFailed(FailureKind.USER, code, message, of_model=True)
