"""From what was asked to what will be made, by a model's card; refuses rather than rounds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from service.domain.errors import FieldError, RequestRefused
from service.domain.media import MediaRef, Role, keyframe_role
from service.domain.models.card import IntRange, ModelCard
from service.domain.request import PlacedImage, VideoParams, VideoRequest
from service.domain.resolve.media_rules import check_conditions
from service.domain.resolve.sizing import Wanted, wanted

T = TypeVar("T")


def resolve(
    ask: VideoParams,
    card: ModelCard,
    *,
    seed: int,
    media: Mapping[Role, MediaRef] | None = None,
    served: Sequence[ModelCard] = (),
) -> VideoRequest:
    """Fill in what `ask` leaves out and check all of it against `card`.

    `seed` is used where the ask names none. `media` is what the ask's texts for pictures and films
    turned out to be; a size or length that is not asked for follows them, as far as it is known.
    Raises RequestRefused with one FieldError for every field that the model cannot honour, each
    naming the nearest value that it can, or those of `served` that can.
    """
    brought = dict(media or {})
    want = wanted(ask, card, brought)
    request = VideoRequest(
        model=card.name,
        prompt=ask.prompt,
        prompts=ask.prompts,
        negative_prompt=ask.negative_prompt or None,
        width=want.width,
        height=want.height,
        num_frames=_given(ask.num_frames, card.frames.nearest(want.seconds * want.fps)),
        fps=want.fps,
        num_inference_steps=_given(ask.num_inference_steps, card.default_steps),
        guidance_scale=_given(ask.guidance_scale, card.default_guidance),
        seed=_given(ask.seed, seed),
        image=brought.get("image"),
        last_image=brought.get("last_image"),
        keyframes=_keyframes(ask, brought),
        video=brought.get("video"),
        strength=_given(ask.strength, card.default_strength) if "video" in brought else None,
        fit=_given(ask.fit, "crop") if brought else None,
    )
    errors = [
        *_size(request, card),
        *_length(ask, want, request, card),
        *_steering(request, card),
        *_segments(request, card),
        *check_conditions(ask, request, card, served),
    ]
    if errors:
        raise RequestRefused(errors)
    return request


def _keyframes(ask: VideoParams, brought: Mapping[Role, MediaRef]) -> list[PlacedImage] | None:
    """In the order in which they were named, which is how their bytes are kept."""
    if ask.keyframes is None:
        return None
    return [
        PlacedImage(frame=one.frame, image=brought[keyframe_role(number)])
        for number, one in enumerate(ask.keyframes)
    ]


def _given(value: T | None, default: T) -> T:
    return default if value is None else value


def _size(request: VideoRequest, card: ModelCard) -> Iterable[FieldError]:
    for name, value in (("width", request.width), ("height", request.height)):
        if value not in card.side:
            yield _not_in(name, value, card.side, f"the {name} of {card.name}")
    if request.width * request.height > card.max_pixels:
        yield FieldError(
            "/height",
            f"{request.width}x{request.height} is {request.width * request.height:,} pixels; "
            f"{card.name} makes at most {card.max_pixels:,}, which at this width is a height of "
            f"{card.side.nearest_below(card.max_pixels // request.width)}",
            "too_many_pixels",
        )


def _length(
    ask: VideoParams, want: Wanted, request: VideoRequest, card: ModelCard
) -> Iterable[FieldError]:
    frames = card.frames
    if request.fps not in card.fps:
        yield _not_in("fps", request.fps, card.fps, f"the frame rate of {card.name}")
        return
    longest = card.max_frames(request.fps)
    if ask.num_frames is not None and request.num_frames not in frames:
        yield _not_in("num_frames", request.num_frames, frames, f"the frame count of {card.name}")
    elif ask.num_frames is not None and request.num_frames > longest:
        yield FieldError(
            "/num_frames",
            f"at {request.fps} fps {card.name} makes at most {longest} frames "
            f"({card.max_seconds:g} s)",
            "out_of_range",
        )
    elif ask.num_frames is None:
        frames_wanted = want.seconds * request.fps
        half_step = frames.step / 2
        if not frames.low - half_step <= frames_wanted <= longest + half_step:
            yield FieldError(
                "/duration_seconds",
                f"at {request.fps} fps {card.name} makes {frames.low / request.fps:.3f} s "
                f"to {longest / request.fps:.3f} s",
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
        return  # which is another error
    segments = card.count_segments(request.num_frames)
    if request.prompts is not None and len(request.prompts) > segments:
        made = "at once" if segments == 1 else f"in {segments} segments"
        yield FieldError(
            "/prompts",
            f"{request.num_frames} frames are made {made} by {card.name}, and there are "
            f"{len(request.prompts)} prompts; give at most {segments}",
            "too_many",
        )
    if segments > 1 and request.video is not None:
        yield FieldError(
            "/num_frames",
            f"over a video {card.name} makes at most {card.clip_frames} frames",
            "out_of_range",
        )


def _not_in(name: str, value: int, allowed: IntRange, what: str) -> FieldError:
    nearest = " and ".join(str(number) for number in allowed.neighbours(value))
    multiples = "" if allowed.step == 1 else f" in steps of {allowed.step}"
    return FieldError(
        f"/{name}",
        f"{value} is not possible: {what} goes from {allowed.low} to {allowed.high}{multiples}; "
        f"nearest: {nearest}",
        "out_of_range" if allowed.step == 1 else "not_a_step",
    )
