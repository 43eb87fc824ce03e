"""Resolve a caller's parameters against a model's card; values are refused, not rounded."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from service.domain.errors import FieldError, RequestRefused
from service.domain.kinds import KINDS
from service.domain.media import MediaRef, Role, keyframe_role
from service.domain.models.card import IntRange, ModelCard
from service.domain.request import JobRequest, PlacedImage, VideoParams, VideoRequest
from service.domain.resolve.media_rules import check_conditions
from service.domain.resolve.sizing import Dimensions, resolve_dimensions

T = TypeVar("T")


def resolve(
    params: VideoParams,
    card: ModelCard,
    *,
    seed: int,
    media: Mapping[Role, MediaRef] | None = None,
    served_cards: Sequence[ModelCard] = (),
) -> VideoRequest:
    """Fill in what `params` leave out and check all fields against `card`.

    `seed` is the default. `media` are the references of the inputs; a size or length that is not
    given follows them, as far as it is known. Raises RequestRefused with a FieldError for each
    field that the model cannot honour, naming the nearest possible value, or the models of
    `served_cards` that can.
    """
    refs = dict(media or {})
    dimensions = resolve_dimensions(params, card, refs)
    request = VideoRequest(
        model=card.name,
        prompt=params.prompt,
        prompts=params.prompts,
        negative_prompt=params.negative_prompt or None,
        width=dimensions.width,
        height=dimensions.height,
        num_frames=_or_default(
            params.num_frames, card.frames.nearest(dimensions.seconds * dimensions.fps)
        ),
        fps=dimensions.fps,
        num_inference_steps=_or_default(params.num_inference_steps, card.default_steps),
        guidance_scale=_or_default(params.guidance_scale, card.default_guidance),
        seed=_or_default(params.seed, seed),
        image=refs.get("image"),
        last_image=refs.get("last_image"),
        loop=_or_default(params.loop, False),
        keyframes=_keyframes(params, refs),
        video=refs.get("video"),
        strength=_or_default(params.strength, card.default_strength) if "video" in refs else None,
        keep_audio=_or_default(params.keep_audio, True) if "video" in refs else None,
        fit=_or_default(params.fit, "crop") if refs else None,
    )
    errors = [
        *size_errors(request, card),
        *_length(params, dimensions, request, card),
        *_steering(request, card),
        *_segments(request, card),
        *check_conditions(params, request, card, served_cards),
    ]
    if card.kind != "video":
        detail = f"{card.name} makes {card.kind}s: use POST {KINDS[card.kind].route}"
        errors = [FieldError("/model", detail, "not_supported")]
    if errors:
        raise RequestRefused(errors)
    return request


def _keyframes(params: VideoParams, refs: Mapping[Role, MediaRef]) -> list[PlacedImage] | None:
    """Return the keyframes in the order of the request, by which their bytes are stored."""
    if params.keyframes is None:
        return None
    return [
        PlacedImage(frame=keyframe.frame, image=refs[keyframe_role(number)])
        for number, keyframe in enumerate(params.keyframes)
    ]


def _or_default(value: T | None, default: T) -> T:
    return default if value is None else value


def size_errors(request: JobRequest, card: ModelCard) -> Iterable[FieldError]:
    """Yield the errors of width and height."""
    for name, value in (("width", request.width), ("height", request.height)):
        if value not in card.side:
            yield _not_in(name, value, card.side, f"the {name} of {card.name}")
    if request.width * request.height > card.max_pixels:
        yield FieldError(
            "/height",
            f"{request.width}x{request.height} is {request.width * request.height:,} pixels; "
            f"{card.name} makes at most {card.max_pixels:,}, at this width a height of "
            f"{card.side.nearest_below(card.max_pixels // request.width)}",
            "too_many_pixels",
        )


def _length(
    params: VideoParams, dimensions: Dimensions, request: VideoRequest, card: ModelCard
) -> Iterable[FieldError]:
    frames = card.frames
    if request.fps not in card.fps:
        yield _not_in("fps", request.fps, card.fps, f"the frame rate of {card.name}")
        return
    max_frames = card.max_frames(request.fps)
    if params.num_frames is not None and request.num_frames not in frames:
        yield _not_in("num_frames", request.num_frames, frames, f"the frame count of {card.name}")
    elif params.num_frames is not None and request.num_frames > max_frames:
        yield FieldError(
            "/num_frames",
            f"at {request.fps} fps {card.name} makes at most {max_frames} frames "
            f"({card.max_seconds:g} s)",
            "out_of_range",
        )
    elif params.num_frames is None:
        num_frames = dimensions.seconds * request.fps
        half_step = frames.step / 2
        if not frames.low - half_step <= num_frames <= max_frames + half_step:
            yield FieldError(
                "/duration_seconds",
                f"at {request.fps} fps {card.name} makes {frames.low / request.fps:.3f} s "
                f"to {max_frames / request.fps:.3f} s",
                "out_of_range",
            )


def _steering(request: VideoRequest, card: ModelCard) -> Iterable[FieldError]:
    if request.num_inference_steps not in card.steps:
        yield _not_in(
            "num_inference_steps", request.num_inference_steps, card.steps, f"{card.name}'s steps"
        )
    if request.guidance_scale not in card.guidance:
        yield FieldError(
            "/guidance_scale",
            f"{card.name} takes {card.guidance.low:g} to {card.guidance.high:g}; "
            f"the nearest is {card.guidance.nearest(request.guidance_scale):g}",
            "out_of_range",
        )
    if request.negative_prompt and not card.negative_prompt:
        yield FieldError(
            "/negative_prompt",
            f"{card.name} runs without guidance, so a negative prompt has no effect; leave it out",
            "not_supported",
        )


def _segments(request: VideoRequest, card: ModelCard) -> Iterable[FieldError]:
    if request.num_frames not in card.frames:
        return  # reported as another error
    segments = card.count_segments(request.num_frames)
    if request.prompts is not None and len(request.prompts) > segments:
        number = "one segment" if segments == 1 else f"{segments} segments"
        yield FieldError(
            "/prompts",
            f"{card.name} makes {request.num_frames} frames in {number}, but there are "
            f"{len(request.prompts)} prompts; give at most {segments}",
            "too_many",
        )
    if segments > 1 and request.video is not None:
        yield FieldError(
            "/num_frames",
            f"with `video` {card.name} makes at most {card.clip_frames} frames",
            "out_of_range",
        )


def _not_in(name: str, value: int, valid_range: IntRange, what: str) -> FieldError:
    nearest = " and ".join(str(number) for number in valid_range.neighbours(value))
    multiples = "" if valid_range.step == 1 else f" in steps of {valid_range.step}"
    return FieldError(
        f"/{name}",
        f"{value} is not possible: {what} goes from {valid_range.low} to {valid_range.high}"
        f"{multiples}; nearest: {nearest}",
        "out_of_range" if valid_range.step == 1 else "not_a_step",
    )
