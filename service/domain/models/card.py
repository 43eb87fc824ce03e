"""A model's plain facts: what it can make, what it needs, what it costs, who may use it."""

from math import ceil, floor
from typing import Literal

from pydantic import BaseModel, ConfigDict

from service.domain.media import Feature
from service.domain.request import VideoRequest


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True)


class IntRange(_Facts):
    """Whole numbers from `low` to `high`, both included, in steps of `step` counted from `low`."""

    low: int
    high: int
    step: int = 1

    def __contains__(self, value: int) -> bool:
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def nearest(self, value: float) -> int:
        """The member nearest to `value`; a tie goes to the larger one."""
        return self._member(floor((value - self.low) / self.step + 0.5))

    def nearest_below(self, value: int) -> int:
        """The largest member that is not above `value`, or `low`."""
        return self._member((value - self.low) // self.step)

    def neighbours(self, value: int) -> tuple[int, ...]:
        """The members on either side of a `value` that is not one: one or two numbers, sorted."""
        index = (value - self.low) // self.step
        return tuple(sorted({self._member(index), self._member(index + 1)}))

    def _member(self, index: int) -> int:
        return self.low + self.step * max(0, min(index, (self.high - self.low) // self.step))


class FloatRange(_Facts):
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def nearest(self, value: float) -> float:
        return max(self.low, min(value, self.high))


class Weights(_Facts):
    """Where the weights come from, pinned. `files` are patterns within the repository."""

    repo: str
    revision: str
    files: tuple[str, ...] = ()


class Licence(_Facts):
    """On what terms the weights may be used. Ours to point at, not to interpret."""

    name: str
    url: str | None = None
    limits: tuple[str, ...] = ()  # what keeps some from using it at all, in a few words each
    excluded_regions: tuple[str, ...] = ()  # where it grants nothing, ISO 3166 codes and EU
    opt_in: bool = False  # whether the operator must accept it before it is served


class Speed(_Facts):
    """How long the default clip takes on one GPU, from begin to finish on a warm worker."""

    gpu: str
    seconds: float
    kind: Literal["measured", "cited", "estimated"]
    source: str


class ModelCard(_Facts):
    """One model. The API validates against this; no weights and no torch are needed for that."""

    name: str
    title: str
    sandbox: bool = False  # draws a placeholder and generates nothing
    description: str
    licence: Licence

    side: IntRange  # width and height, pixels
    max_pixels: int  # width x height
    frames: IntRange  # number of frames
    # How many frames are made at once, and of a longer video how many the segments share; None
    # where all of `frames` are made at once. Both obey the frame rule.
    clip_frames: int | None = None
    overlap: int = 0
    fps: IntRange
    max_seconds: float
    steps: IntRange  # denoising steps
    guidance: FloatRange
    negative_prompt: bool  # whether one has any effect

    default_width: int
    default_height: int
    default_fps: int
    default_seconds: float
    default_steps: int
    default_guidance: float

    default_strength: float = 0.6  # of what is made over a film; nothing to models without it

    features: tuple[Feature, ...] = ("text-to-video",)
    # Those that take over where it is the default and cannot make a job, the best first.
    fallbacks: tuple[str, ...] = ()
    # Those that run it well by Modal's names, the one to try first in front; empty: needs none.
    gpus: tuple[str, ...] = ()
    gpu_memory_gb: float | None = None  # with all parts there at once
    gpu_memory_offload_gb: float | None = None  # with each part there only while it works
    weights: tuple[Weights, ...] = ()

    # Seconds an attempt takes on a warm worker: a fixed part, one that grows with the million
    # pixels of all frames, and two for every step, of which the second is attention's and grows
    # with their square.
    seconds_fixed: float
    seconds_per_megapixel_frame: float
    seconds_per_step: float = 0.0
    seconds_per_step_squared: float = 0.0
    speed_source: str
    speeds: tuple[Speed, ...] = ()

    def expected_seconds(self, request: VideoRequest) -> float:
        """A first guess at the seconds from begin to finish, warm."""
        segments = self.count_segments(request.num_frames)
        made = request.num_frames + (segments - 1) * self.overlap
        size = request.width * request.height * made / segments / 1e6
        step = self.seconds_per_step * size + self.seconds_per_step_squared * size**2
        each = self.seconds_per_megapixel_frame * size + step * request.num_inference_steps
        return self.seconds_fixed + segments * each

    def max_frames(self, fps: int) -> int:
        """Of the longest video at this rate. Where frames are counted in steps of several and one
        more, that one comes on top, as users of such models count."""
        more = 1 if self.frames.step > 1 and self.frames.low % self.frames.step == 1 else 0
        return self.frames.nearest_below(min(self.frames.high, int(self.max_seconds * fps) + more))

    def count_segments(self, num_frames: int) -> int:
        """Into how many segments so many frames are cut."""
        if self.clip_frames is None or num_frames <= self.clip_frames:
            return 1
        return ceil((num_frames - self.overlap) / (self.clip_frames - self.overlap))
