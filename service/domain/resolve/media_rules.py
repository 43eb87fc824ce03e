"""Which pictures and films a model can be given, and which of them together."""

from collections.abc import Iterable, Sequence

from service.domain.errors import FieldError
from service.domain.media import NEEDS, Feature, field_of
from service.domain.models.card import IntRange, ModelCard
from service.domain.models.catalog import CARDS
from service.domain.request import VideoParams, VideoRequest

_MAX_VIDEO_BYTES = 2_000_000_000  # a film lies in a worker's memory as pixels, 3 bytes each
_MAKES: dict[Feature, str] = {
    "image-to-video": "no video from a picture",
    "last-image": "no video towards a last picture",
    "keyframes": "no video through pictures on its way",
    "video-to-video": "no video over another one",
}


def check_conditions(
    ask: VideoParams, request: VideoRequest, card: ModelCard, served: Sequence[ModelCard]
) -> Iterable[FieldError]:
    """What is wrong with the pictures and films, and with what is said about them."""
    media = request.media
    for name in dict.fromkeys(map(field_of, media)):
        if NEEDS[name] not in card.features:
            detail = f"{card.name} makes {_MAKES[NEEDS[name]]}; {_who(NEEDS[name], served)}"
            yield FieldError(f"/{name}", detail, "not_supported")
    yield from _keyframes(request, card)
    if "last_image" in media and "image" not in media:
        # The models that know a last frame were trained to go from a first one to it.
        yield FieldError(
            "/last_image", "last_image needs an image that the video begins with", "needs_image"
        )
    if "video" in media and len(media) > 1:
        detail = "give a video or pictures, not both: a model follows the one or the others"
        yield FieldError("/video", detail, "not_together")
    if ask.strength is not None and "video" not in media:
        detail = "strength says how far to go from a video, and there is none; leave it out"
        yield FieldError("/strength", detail, "needs_video")
    if ask.fit is not None and not media:
        detail = "fit says how to fit a picture or film, and there is none; leave it out"
        yield FieldError("/fit", detail, "needs_media")
    film_bytes = request.width * request.height * request.num_frames * 3
    if "video" in media and film_bytes > _MAX_VIDEO_BYTES:
        most = _MAX_VIDEO_BYTES // (request.width * request.height * 3)
        detail = f"over a video at most {most} frames of {request.width}x{request.height} are made"
        yield FieldError("/num_frames", detail, "out_of_range")


def _keyframes(request: VideoRequest, card: ModelCard) -> Iterable[FieldError]:
    """Each lies where a model can place it, on the way, and none where another picture is."""
    if "keyframes" not in card.features or request.num_frames not in card.frames:
        return  # which is another error
    step, last = card.frames.step, request.num_frames - 1
    if request.keyframes and last < step:
        detail = f"a video of {request.num_frames} frames has none on its way"
        yield FieldError("/keyframes", detail, "out_of_range")
        return
    places = IntRange(low=step, high=last, step=step)
    taken = {last} if request.last_image is not None else set[int]()
    for number, one in enumerate(request.keyframes or ()):
        pointer = f"/keyframes/{number}/frame"
        if one.frame not in places:
            nearest = " or ".join(map(str, places.neighbours(one.frame)))
            every = "" if step == 1 else f" in steps of {step}"
            detail = (
                f"{card.name} cannot show a picture at frame {one.frame}: of {request.num_frames} "
                f"frames it can at {step} to {last}{every}; nearest: {nearest}"
            )
            yield FieldError(pointer, detail, "not_a_step")
        elif one.frame in taken:
            detail = f"there is another picture for frame {one.frame} already"
            yield FieldError(pointer, detail, "given_twice")
        taken.add(one.frame)


def _who(feature: Feature, served: Sequence[ModelCard]) -> str:
    """The models that can, those of this service first."""
    here = [card.name for card in served if feature in card.features]
    if here:
        return f"here these do: {', '.join(here)}"
    known = [card.name for card in CARDS.values() if feature in card.features]
    if known:
        return f"no model that is served here does; of those that are not, {', '.join(known)}"
    return "no model does yet"
