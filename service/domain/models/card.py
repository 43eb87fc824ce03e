"""Model cards: abilities, hardware, speed and licence of each model."""

from math import ceil, floor
from typing import Literal

from pydantic import BaseModel, ConfigDict

from service.domain.media import Feature
from service.domain.request import JobKind, JobRequest


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
        """Return the member nearest to `value`; the larger one for a tie."""
        return self._member(floor((value - self.low) / self.step + 0.5))

    def nearest_below(self, value: int) -> int:
        """Return the largest member that is not above `value`, or `low`."""
        return self._member((value - self.low) // self.step)

    def neighbours(self, value: int) -> tuple[int, ...]:
        """Return the one or two members nearest to a `value` that is no member, sorted."""
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


# The extras of pyproject.toml that models need.
Extra = Literal["torch", "avatar", "longcat"]


class Weights(_Facts):
    """A pinned source of weights. `files` are patterns within the repository."""

    repo: str
    revision: str
    files: tuple[str, ...] = ()


class Licence(_Facts):
    """The licence of the weights, as a reference."""

    name: str
    url: str | None = None
    limits: tuple[str, ...] = ()  # conditions that exclude some users
    excluded_regions: tuple[str, ...] = ()  # without a grant: ISO 3166 codes and EU
    opt_in: bool = False  # whether the operator must accept it before it is served


class Resolution(_Facts):
    """A named choice of size. Of several sizes, each (width, height), the one is taken whose shape
    is nearest to that of the image."""

    name: str
    sizes: tuple[tuple[int, int], ...]


class Speed(_Facts):
    """Seconds for the default video on one GPU, from begin to finish on a warm worker."""

    gpu: str
    seconds: float
    kind: Literal["measured", "cited", "estimated"]
    source: str


class ModelCard(_Facts):
    """One model. The API validates against its card, without weights or torch."""

    name: str
    title: str
    kind: JobKind = "video"  # of the jobs that it makes
    sandbox: bool = False  # draws a placeholder and generates nothing
    description: str
    licence: Licence

    side: IntRange  # width and height, pixels
    max_pixels: int  # width x height
    resolutions: tuple[Resolution, ...] = ()  # of avatars, the default first
    only_resolutions: bool = False  # whether a size must be one of those
    frames: IntRange  # number of frames
    # Frames generated at once (None: any of `frames`), and the overlap of the segments of a longer
    # video. Both obey the frame rule.
    clip_frames: int | None = None
    overlap: int = 0
    # Whether each segment is generated as a whole clip, of which the last one is cut; else they are
    # of about equal length.
    full_clips: bool = False
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

    default_strength: float = 0.6  # of video-to-video

    default_prompt: str = ""  # of avatars

    features: tuple[Feature, ...] = ("text-to-video",)
    bends_photo: bool = False  # whether it moves the pixels of a photo, which it therefore needs
    # Models that take over if this is the default and cannot make a job, the best first.
    fallbacks: tuple[str, ...] = ()
    # GPUs by Modal's names, the first to try in front; empty: needs none.
    gpus: tuple[str, ...] = ()
    gpu_memory_gb: float | None = None  # with all parts loaded
    gpu_memory_offload_gb: float | None = None  # with each part loaded only while it works
    weights: tuple[Weights, ...] = ()
    # The extra of this Python package that installs what a worker needs; None: nothing more.
    extra: Extra | None = None

    # Seconds of an attempt on a warm worker: a fixed part, one per megapixel of all frames, and per
    # step one linear and one quadratic (attention) in the megapixels.
    seconds_fixed: float
    seconds_per_megapixel_frame: float
    seconds_per_step: float = 0.0
    seconds_per_step_squared: float = 0.0
    speed_source: str
    speeds: tuple[Speed, ...] = ()

    def expected_seconds(self, request: JobRequest) -> float:
        """Estimate the seconds from begin to finish on a warm worker."""
        num_frames = request.expected_frames
        segments = self.count_segments(num_frames)
        total_frames = num_frames + (segments - 1) * self.overlap
        if self.full_clips and self.clip_frames is not None:
            total_frames = segments * self.clip_frames
        size = request.width * request.height * total_frames / segments / 1e6
        step = self.seconds_per_step * size + self.seconds_per_step_squared * size**2
        per_segment = self.seconds_per_megapixel_frame * size + step * request.num_inference_steps
        return self.seconds_fixed + segments * per_segment

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """All sizes of its resolutions."""
        return [size for resolution in self.resolutions for size in resolution.sizes]

    def max_frames(self, fps: int) -> int:
        """Return the most frames of a video at this rate. With a frame rule such as 8n + 1 the one
        frame comes on top of `max_seconds`, as users of such models count."""
        extra = 1 if self.frames.step > 1 and self.frames.low % self.frames.step == 1 else 0
        return self.frames.nearest_below(min(self.frames.high, int(self.max_seconds * fps) + extra))

    def count_segments(self, num_frames: int) -> int:
        """Return the number of segments for so many frames."""
        if self.clip_frames is None or num_frames <= self.clip_frames:
            return 1
        return ceil((num_frames - self.overlap) / (self.clip_frames - self.overlap))


# Of GPUs without a measurement. TFLOP/s in bfloat16 without sparsity, at best.
_PEAK = {"A10": 70, "L40S": 362, "A100-80GB": 312, "H100": 790, "H200": 790}
# The share of an H100's peak that diffusers reaches: Wan 2.1 14B (LightX2V's README: 9.77 s a step,
# 4.25 ideal).
_REACHED = 0.43
_REST = 1.0  # seconds for text, encoding and upload


def estimate_speeds(tflop: float, *gpus: str) -> tuple[Speed, ...]:
    """Estimate the speed for so many TFLOP, from the first step to the last decoded frame.

    They were counted on the real sizes (torch's FlopCounterMode on the meta device), for Mochi and
    HunyuanVideo 1.5 worked out from them, and for sizes between two counted ones fitted to both.
    """
    return tuple(
        Speed(
            gpu=gpu,
            seconds=round(_REST + tflop / (_PEAK[gpu] * _REACHED), 1),
            kind="estimated",
            source=f"{tflop:,.0f} TFLOP at {_REACHED * 100:.0f} % of {_PEAK[gpu]} TFLOP/s",
        )
        for gpu in gpus
    )
