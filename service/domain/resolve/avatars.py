"""Resolve the parameters of an avatar against a model's card."""

from collections.abc import Iterable, Mapping, Sequence

from service.domain.avatar import (
    MIN_AUDIO_SECONDS,
    AvatarParams,
    AvatarRequest,
    CaptionSettings,
)
from service.domain.errors import FieldError, RequestRefused
from service.domain.media import MediaRef, Role
from service.domain.models.card import ModelCard
from service.domain.resolve.media_rules import supporters
from service.domain.resolve.resolve import size_errors

_SIDES = {"512p": 512, "720p": 720}
_TOLERANCE = 0.1  # seconds by which a header may be wrong: encoders pad


def resolve_avatar(
    params: AvatarParams,
    card: ModelCard,
    *,
    seed: int,
    media: Mapping[Role, MediaRef],
    served_cards: Sequence[ModelCard] = (),
) -> AvatarRequest:
    """Fill in what `params` leave out and check all fields against `card`.

    Raises RequestRefused with a FieldError for each field that the model cannot honour.
    """
    side = _SIDES.get(params.resolution or "")
    seconds = params.duration_seconds
    request = AvatarRequest(
        model=card.name,
        prompt=params.prompt or "",
        width=params.width or side or card.default_width,
        height=params.height or side or card.default_height,
        num_frames=None if seconds is None else max(1, round(seconds * card.default_fps)),
        fps=card.default_fps,
        seed=seed if params.seed is None else params.seed,
        text=params.text,
        voice=params.voice,
        audio=media.get("audio"),
        reference_image=media.get("reference_image"),
        captions=_captions(params),
    )
    errors = [
        *size_errors(request, card),
        *_length(request, card),
        *_abilities(request, card, served_cards),
    ]
    if errors:
        raise RequestRefused(errors)
    return request


def _captions(params: AvatarParams) -> CaptionSettings | None:
    wanted = params.captions
    if wanted is None:
        return None
    return CaptionSettings(format=wanted.format, burn_in=wanted.burn_in)


def _length(request: AvatarRequest, card: ModelCard) -> Iterable[FieldError]:
    if request.num_frames is not None and request.num_frames > card.frames.high:
        detail = f"{card.name} speaks for {card.max_seconds:g} s at most"
        yield FieldError("/duration_seconds", detail, "out_of_range")
    seconds = None if request.audio is None else request.audio.seconds
    if seconds is None:
        return
    if not MIN_AUDIO_SECONDS - _TOLERANCE <= seconds <= card.max_seconds + _TOLERANCE:
        detail = (
            f"the audio lasts {seconds:.1f} s; {card.name} speaks for {MIN_AUDIO_SECONDS:g} to "
            f"{card.max_seconds:g} s: send a recording of that length"
        )
        yield FieldError("/audio", detail, "out_of_range")
    elif (request.duration_seconds or 0) > seconds + 1 / request.fps + _TOLERANCE:
        detail = f"the voice lasts {seconds:.2f} s: give at most that, or leave it out"
        yield FieldError("/duration_seconds", detail, "out_of_range")


def _abilities(
    request: AvatarRequest, card: ModelCard, served_cards: Sequence[ModelCard]
) -> Iterable[FieldError]:
    if "speech" not in card.features:
        detail = f"{card.name} makes no avatars; {supporters('speech', served_cards)}"
        yield FieldError("/model", detail, "not_supported")
    elif request.reference_image is None and card.name == "puppet":
        detail = f"{card.name} animates a photo: give reference_image"
        yield FieldError("/reference_image", detail, "missing")
