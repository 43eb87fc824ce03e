"""Resolve the parameters of an avatar against a model's card."""

from collections.abc import Iterable, Mapping, Sequence
from math import hypot, log

from service.domain.avatar import (
    MIN_AUDIO_SECONDS,
    AvatarParams,
    AvatarRequest,
)
from service.domain.errors import FieldError, RequestRefused
from service.domain.media import MediaRef, Role
from service.domain.models.card import ModelCard
from service.domain.resolve.media_rules import supporters
from service.domain.resolve.resolve import size_errors
from service.domain.speech import MAX_CHARACTERS, SHORTEST, speaking_seconds

_TOLERANCE = 0.1  # seconds by which a header may be wrong: encoders pad
Size = tuple[int, int]


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
    if "speech" not in card.features:
        detail = f"{card.name} makes no avatars; {supporters('speech', served_cards)}"
        raise RequestRefused([FieldError("/model", detail, "not_supported")])
    image = media.get("reference_image")
    width, height = _size(params, card, image)
    seconds = params.duration_seconds
    request = AvatarRequest(
        model=card.name,
        prompt=params.prompt or card.default_prompt,
        width=width,
        height=height,
        num_frames=None if seconds is None else max(1, round(seconds * card.default_fps)),
        fps=card.default_fps,
        num_inference_steps=card.default_steps,
        seed=seed if params.seed is None else params.seed,
        text=params.text,
        voice=params.voice,
        speed=params.speed or 1.0,
        audio=media.get("audio"),
        reference_image=image,
        captions=params.captions,
    )
    errors = [
        *_resolution(params, card),
        *(_listed_size(request, card) if card.only_resolutions else size_errors(request, card)),
        *_together(params),
        *_length(request, card),
        *_spoken_length(request, card),
    ]
    if image is None and card.bends_photo:
        detail = f"{card.name} animates a photo: give `reference_image`"
        errors.append(FieldError("/reference_image", detail, "missing"))
    if errors:
        raise RequestRefused(errors)
    return request


def _size(params: AvatarParams, card: ModelCard, image: MediaRef | None) -> Size:
    """Return the size that was given, or the possible one whose shape is nearest to that of the
    image, or to the default where that of the image is not known."""
    given = (params.width or card.default_width, params.height or card.default_height)
    sizes = _possible_sizes(params, card)
    if not sizes:  # any size, or an impossible one, which is reported
        return given
    shape = card.default_width / card.default_height
    if image is not None and image.width and image.height:
        shape = image.width / image.height
    return min(sizes, key=lambda size: abs(log(size[0] / size[1] / shape)))


def _possible_sizes(params: AvatarParams, card: ModelCard) -> Sequence[Size]:
    """List the sizes of the resolution, or those with the given side; none where both are given, or
    any is possible."""
    if params.resolution is not None or (params.width is None and params.height is None):
        name = params.resolution or (card.resolutions[0].name if card.only_resolutions else "")
        return next((r.sizes for r in card.resolutions if r.name == name), ())
    if not card.only_resolutions:
        return ()
    return [
        (width, height)
        for width, height in card.sizes
        if params.width in (None, width) and params.height in (None, height)
    ]


def _resolution(params: AvatarParams, card: ModelCard) -> Iterable[FieldError]:
    names = [resolution.name for resolution in card.resolutions]
    wanted = params.resolution
    if wanted is not None and wanted not in names:
        nearest = min(names, key=lambda name: abs(_lines(name) - _lines(wanted)))
        detail = f"{card.name} has no {wanted}, but {' and '.join(names)}; nearest: {nearest}"
        yield FieldError("/resolution", detail, "not_a_step")


def _lines(resolution: str) -> int:
    return int(resolution.rstrip("p"))


def _listed_size(request: AvatarRequest, card: ModelCard) -> Iterable[FieldError]:
    """Yield an error for a size that is not one of the card's."""
    size = (request.width, request.height)
    if size not in card.sizes:
        nearest = min(card.sizes, key=lambda other: hypot(other[0] - size[0], other[1] - size[1]))
        field = "height" if request.width in {width for width, _ in card.sizes} else "width"
        detail = (
            f"{card.name} cannot make {size[0]}x{size[1]}, only its {len(card.sizes)} sizes of "
            f"{' and '.join(resolution.name for resolution in card.resolutions)}; "
            f"nearest: {nearest[0]}x{nearest[1]}"
        )
        yield FieldError(f"/{field}", detail, "not_a_step")


def _together(params: AvatarParams) -> Iterable[FieldError]:
    """Yield the errors of fields that exclude or need each other; a retry has those of its job,
    too."""
    if params.avatar is not None and params.reference_image is not None:
        yield FieldError("/avatar", "give `avatar` or `reference_image`, not both", "not_together")
    if params.audio is None:
        return
    if params.text is not None and params.captions is None:
        detail = "give `text` or `audio`, not both; with `captions`, `text` says what is heard"
        yield FieldError("/text", detail, "not_together")
    if params.text is None and params.captions is not None:
        detail = "`captions` with `audio` also needs `text`: the words that are spoken"
        yield FieldError("/captions", detail, "needs_text")
    for name in ("voice", "speed"):
        if getattr(params, name) is not None:
            detail = f"`text` is spoken by a voice; leave `{name}` out with `audio`"
            yield FieldError(f"/{name}", detail, "not_together")


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


def _spoken_length(request: AvatarRequest, card: ModelCard) -> Iterable[FieldError]:
    """Refuse a text that every voice speaks for too long, also where the video is cut: all of it is
    spoken, and may be paid for."""
    if not request.needs_speech:
        return
    text = request.text or ""
    seconds = SHORTEST * speaking_seconds(text) / request.speed
    if len(text) > MAX_CHARACTERS:
        detail = f"a voice speaks at most {MAX_CHARACTERS:,} characters; this has {len(text):,}"
        yield FieldError("/text", detail, "text_too_long")
    elif seconds > card.max_seconds:
        longest = int(len(text) * card.max_seconds / seconds)
        detail = (
            f"the text takes more than {seconds:.0f} s to speak at this speed; {card.name} speaks "
            f"for {card.max_seconds:g} s at most: send about {longest:,} characters of it"
        )
        yield FieldError("/text", detail, "text_too_long")
