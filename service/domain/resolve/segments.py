"""How a video that is longer than a model makes at once is cut: arithmetic only."""

from dataclasses import dataclass

from service.domain.models.card import ModelCard
from service.domain.request import MAX_SEED, VideoRequest


@dataclass(frozen=True)
class Segment:
    """One cut. Its `request` is for its own frames, with its own prompt and seed.

    The first `overlap` of them show again what the segment before ended with, and the last
    `handed_on` are shown again by the next; both are 0 where there is no such neighbour.
    """

    number: int  # from 0
    of: int
    start: int  # the frame of the video that is its first
    request: VideoRequest
    overlap: int
    handed_on: int
    video_frames: int  # of the whole video

    @property
    def first(self) -> bool:
        return self.number == 0

    @property
    def last(self) -> bool:
        return self.number == self.of - 1

    @property
    def kept_frames(self) -> int:
        """How many frames of the video are this segment's to write."""
        return self.request.num_frames - self.handed_on


def plan(request: VideoRequest, card: ModelCard) -> list[Segment]:
    """The segments of a request, about equally long; only one where the model makes it at once."""
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
            handed_on=card.overlap if number < of - 1 else 0,
            video_frames=request.num_frames,
        )
        for number, frames in enumerate(lengths)
    ]


def _lengths(num_frames: int, of: int, card: ModelCard) -> list[int]:
    """Each is a length that the model makes: they differ by one step of its frame rule at most."""
    if of == 1:
        return [num_frames]
    step = card.frames.step
    steps, rest = divmod((num_frames - card.overlap) // step, of)
    return [card.overlap + step * (steps + (number < rest)) for number in range(of)]


def _prompt(request: VideoRequest, number: int, of: int) -> str:
    """What all have in common, then what this part is about."""
    if not request.prompts:
        return request.prompt
    return f"{request.prompt} {request.prompts[number * len(request.prompts) // of]}"
