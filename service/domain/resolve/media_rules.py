"""Rules for inputs: those that a model supports, and their combinations."""

from collections.abc import Container, Iterable, Sequence

from service.domain.errors import FieldError
from service.domain.media import MEDIA_RULES, Feature, Role, field_of
from service.domain.models.card import IntRange, ModelCard
from service.domain.models.catalog import CARDS
from service.domain.request import VideoParams, VideoRequest

_MAX_VIDEO_BYTES = 2_000_000_000  # an input video is in a worker's memory as pixels of 3 bytes


def check_conditions(
    params: VideoParams,
    request: VideoRequest,
    card: ModelCard,
    served_cards: Sequence[ModelCard],
) -> Iterable[FieldError]:
    """Yield the errors of the inputs, and of the fields that depend on them."""
    media = request.media
    for name in dict.fromkeys(map(field_of, media)):
        feature = MEDIA_RULES[name].feature
        if feature not in card.features:
            detail = f"{card.name} does not support {feature}; {supporters(feature, served_cards)}"
            yield FieldError(f"/{name}", detail, "not_supported")
    yield from _keyframes(request, card)
    if "last_image" in media and "image" not in media:
        # Models with a last frame were trained to go from a first one to it.
        yield FieldError(
            "/last_image", "`last_image` needs `image`, the first frame of the video", "needs_image"
        )
    if request.loop:
        yield from _loop(request, card, served_cards)
    if "video" in media and len(media) > 1:
        detail = "give `video` or images, not both"
        yield FieldError("/video", detail, "not_together")
    yield from _without_video(params, media)
    if params.fit is not None and not media:
        detail = "`fit` needs an image or video; leave it out"
        yield FieldError("/fit", detail, "needs_media")
    video_bytes = request.width * request.height * request.num_frames * 3
    if "video" in media and video_bytes > _MAX_VIDEO_BYTES:
        max_frames = _MAX_VIDEO_BYTES // (request.width * request.height * 3)
        size = f"{request.width}x{request.height}"
        detail = f"with `video` at most {max_frames} frames of {size} are possible"
        yield FieldError("/num_frames", detail, "out_of_range")


def _without_video(params: VideoParams, media: Container[Role]) -> Iterable[FieldError]:
    for name in ("strength", "keep_audio"):
        if getattr(params, name) is not None and "video" not in media:
            yield FieldError(f"/{name}", f"`{name}` needs `video`; leave it out", "needs_video")


def _loop(
    request: VideoRequest, card: ModelCard, served_cards: Sequence[ModelCard]
) -> Iterable[FieldError]:
    """Check that the video can end with its first image."""
    if "last-image" not in card.features:
        detail = f"{card.name} does not support `loop`; {supporters('last-image', served_cards)}"
        yield FieldError("/loop", detail, "not_supported")
    elif request.image is None:
        detail = "`loop` needs `image`, the first and the last frame of the video"
        yield FieldError("/loop", detail, "needs_image")
    elif request.last_image is not None:
        yield FieldError("/loop", "give `loop` or `last_image`, not both", "not_together")


def _keyframes(request: VideoRequest, card: ModelCard) -> Iterable[FieldError]:
    """Check that each keyframe is at a possible frame, and no two images at the same."""
    if "keyframes" not in card.features or request.num_frames not in card.frames:
        return  # reported as another error
    step, last = card.frames.step, request.num_frames - 1
    if request.keyframes and last < step:
        detail = f"a video of {request.num_frames} frames is too short for keyframes"
        yield FieldError("/keyframes", detail, "out_of_range")
        return
    places = IntRange(low=step, high=last, step=step)
    used_frames = {last} if request.last_image is not None or request.loop else set[int]()
    for number, keyframe in enumerate(request.keyframes or ()):
        pointer = f"/keyframes/{number}/frame"
        if keyframe.frame not in places:
            nearest = " or ".join(map(str, places.neighbours(keyframe.frame)))
            steps = "" if step == 1 else f" in steps of {step}"
            detail = (
                f"{card.name} cannot place an image at frame {keyframe.frame} of "
                f"{request.num_frames}, only at {step} to {last}{steps}; nearest: {nearest}"
            )
            yield FieldError(pointer, detail, "not_a_step")
        elif keyframe.frame in used_frames:
            detail = f"there is already another image for frame {keyframe.frame}"
            yield FieldError(pointer, detail, "given_twice")
        used_frames.add(keyframe.frame)


def supporters(feature: Feature, served_cards: Sequence[ModelCard]) -> str:
    """Name the served models with a feature, or else other models."""
    names = [card.name for card in served_cards if feature in card.features]
    if names:
        return f"served models that do: {', '.join(names)}"
    names = [card.name for card in CARDS.values() if feature in card.features]
    return f"no served model does; others that do: {', '.join(names) or 'none'}"
