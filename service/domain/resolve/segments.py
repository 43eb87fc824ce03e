"""Split a video that is longer than a model generates at once into segments."""

from dataclasses import dataclass
from typing import Any

from service.domain.kinds import AnyRequest
from service.domain.models.card import ModelCard
from service.domain.request import MAX_SEED, VideoRequest


@dataclass(frozen=True)
class Segment:
    """One segment. Its `request` is for its own frames, with its own prompt and seed.

    The first `overlap` frames repeat the end of the segment before, and the last `next_overlap` are
    repeated by the next; each is 0 without such a neighbour.
    """

    number: int  # from 0
    of: int
    start: int  # index of its first frame in the video
    request: AnyRequest
    overlap: int
    next_overlap: int
    video_frames: int  # of the whole video

    @property
    def first(self) -> bool:
        return self.number == 0

    @property
    def last(self) -> bool:
        return self.number == self.of - 1

    @property
    def kept_frames(self) -> int:
        """Return how many frames of the video this segment writes."""
        return self.request.shape.num_frames - self.next_overlap


def plan(request: AnyRequest, card: ModelCard) -> list[Segment]:
    """Split a request into segments, of about equal length or of whole clips, by the model's
    card; one if the model makes it at once."""
    num_frames = request.shape.num_frames
    of = card.count_segments(num_frames)
    lengths = _lengths(num_frames, of, card)
    return [
        Segment(
            number=number,
            of=of,
            start=sum(lengths[:number]) - card.overlap * number,
            request=request.model_copy(
                update={"num_frames": frames, **_changes(request, number, of)}
            ),
            overlap=card.overlap if number else 0,
            next_overlap=card.overlap if number < of - 1 else 0,
            video_frames=num_frames,
        )
        for number, frames in enumerate(lengths)
    ]


def _lengths(num_frames: int, of: int, card: ModelCard) -> list[int]:
    """Return possible lengths of the model, which differ by one step of its frame rule at most, or
    are those of whole clips."""
    if of == 1:
        return [num_frames]
    if card.full_clips and card.clip_frames is not None:
        whole = card.clip_frames
        return [whole] * (of - 1) + [num_frames - (of - 1) * (whole - card.overlap)]
    step = card.frames.step
    steps, rest = divmod((num_frames - card.overlap) // step, of)
    return [card.overlap + step * (steps + (number < rest)) for number in range(of)]


def _changes(request: AnyRequest, number: int, of: int) -> dict[str, Any]:
    """Return the prompt and seed of a segment. An avatar's motion goes on over all of them."""
    if not isinstance(request, VideoRequest):
        return {}
    prompt = request.prompt
    if request.prompts:
        prompt = f"{prompt} {request.prompts[number * len(request.prompts) // of]}"
    return {"prompt": prompt, "seed": (request.seed + number) % (MAX_SEED + 1)}
