"""Split a video that is longer than a model generates at once into segments."""

from dataclasses import dataclass

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
    request: VideoRequest
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
        return self.request.num_frames - self.next_overlap


def plan(request: VideoRequest, card: ModelCard) -> list[Segment]:
    """Split a request into segments of about equal length; one if the model makes it at once."""
    of = card.count_segments(request.num_frames)
    lengths = _lengths(request.num_frames, of, card)
    return [
        Segment(
            number=number,
            of=of,
            start=sum(lengths[:number]) - card.overlap * number,
            request=request.model_copy(
                update={
                    "num_frames": frames,
                    "prompt": _prompt(request, number, of),
                    "seed": (request.seed + number) % (MAX_SEED + 1),
                }
            ),
            overlap=card.overlap if number else 0,
            next_overlap=card.overlap if number < of - 1 else 0,
            video_frames=request.num_frames,
        )
        for number, frames in enumerate(lengths)
    ]


def _lengths(num_frames: int, of: int, card: ModelCard) -> list[int]:
    """Return possible lengths of the model, which differ by one step of its frame rule at most."""
    if of == 1:
        return [num_frames]
    step = card.frames.step
    steps, rest = divmod((num_frames - card.overlap) // step, of)
    return [card.overlap + step * (steps + (number < rest)) for number in range(of)]


def _prompt(request: VideoRequest, number: int, of: int) -> str:
    """Join the common prompt and that of the segment."""
    if not request.prompts:
        return request.prompt
    return f"{request.prompt} {request.prompts[number * len(request.prompts) // of]}"
