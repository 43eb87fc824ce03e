"""The protocol between a worker and the code that drives a video model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.attempt import Profile, Stage
from service.domain.speech import Phone

if TYPE_CHECKING:
    from service.workers.burn_in import BurnIn
    from service.workers.puppet.photo import Portrait  # imports OpenCV

# One image: uint8, shape (height, width, 3), RGB.
Frame: TypeAlias = NDArray[np.uint8]
# Images in playing order: uint8, shape (frames, height, width, 3), RGB.
Frames: TypeAlias = NDArray[np.uint8]

# A model's own memory of the first clip of a video, by which the later ones stay like it.
Anchor: TypeAlias = NDArray[np.float32]

AUDIO_RATE = 48_000  # samples per second of all sound


class Shape(Protocol):
    """The size of a video in pixels, its number of frames, and frames per second."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def num_frames(self) -> int: ...
    @property
    def fps(self) -> int: ...
    @property
    def duration_seconds(self) -> float: ...


@dataclass(frozen=True)
class Audio:
    """Sound at AUDIO_RATE: int16, shape (samples, channels)."""

    samples: NDArray[np.int16]

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])


def audio_samples(num_frames: int, fps: int) -> int:
    """Return how many samples are as long as these frames, rounded down."""
    return num_frames * AUDIO_RATE // fps


@dataclass(frozen=True)
class Clip:
    """The frames of a request in playing order, and their sound, if any, of `audio_samples`.

    `anchor` is called after the last frame, and returns what the clips that continue it need.
    """

    frames: Iterator[Frame]
    audio: Audio | None = None
    anchor: Callable[[], Anchor] | None = None


def audio_of_segment(audio: Audio, start: int, num_frames: int, fps: int) -> Audio:
    """Cut out the sound of so many frames of a video, from frame `start` on."""
    first, last = audio_samples(start, fps), audio_samples(start + num_frames, fps)
    return Audio(audio.samples[first:last])


@dataclass(frozen=True)
class Speech:
    """A voice that a face is to speak with, as long as the video.

    `samples` are float32, mono, -1 to 1, SPEECH_RATE a second; `phones` are None where only the
    sound tells what is spoken.
    """

    samples: NDArray[np.float32]
    phones: tuple[Phone, ...] | None = None


@dataclass(frozen=True)
class Conditions:
    """The inputs that a clip follows besides the prompt, each at exactly the request's size.

    `image` is its first frame and `last_image` its last; each of `keyframes` is an image with its
    frame index, from 0; `video` is transformed by the request's strength, and `audio` is the sound
    to keep of it; `tail` is the end of the clip that it continues, repeated as its own beginning,
    and `anchor` what that clip returned.
    `portrait` is a face that speaks `speech`, whose sound is `audio`.
    The clip's first frame is frame `start` of a video of `video_frames`; None: the clip is the
    whole video.
    """

    image: Frame | None = None
    last_image: Frame | None = None
    keyframes: tuple[tuple[int, Frame], ...] = ()
    video: Frames | None = None
    audio: Audio | None = None
    tail: Frames | None = None
    anchor: Anchor | None = None
    portrait: "Portrait | None" = None
    speech: Speech | None = None
    captions: "BurnIn | None" = None  # to draw on its frames
    warnings: tuple[str, ...] = ()
    start: int = 0
    video_frames: int | None = None


NO_CONDITIONS = Conditions()  # text to video


class OnStep(Protocol):
    """Progress callback, called after every step of a stage with its number, from 1, and the total.

    Raises AttemptFailed when the job was canceled, Lost when the fencing token is stale, and
    WorkerStopping when the worker shuts down. An adapter must let each of them propagate, so that
    the attempt ends within one step.
    """

    def __call__(self, stage: Stage, step: int, total: int) -> None: ...


class Adapter(Protocol):
    """Drives one model: loaded once, used for many jobs until another model replaces it.

    Adapters are built as `Adapter(card, weights, tuning)`: the model's card, a local folder of
    weights, or None to fetch those that the card names, and how to run it.
    """

    @property
    def gpu(self) -> str | None:
        """The accelerator's product name; None on a CPU. Known after `load`."""
        ...

    @property
    def made_with(self) -> dict[str, str]:
        """The settings that the last clip was generated with; empty where there is no choice."""
        ...

    def load(self, profile: Profile = Profile.FULL) -> None:
        """Load the model onto its device; do nothing when it is there already.

        A different profile only moves it, so that after running out of memory the same model can
        run in less. Raises AttemptFailed; the call may then be repeated.
        """
        ...

    def generate(self, request: Any, conditions: Conditions, on_step: OnStep) -> Clip:
        """Make exactly `request.num_frames` frames of `request.width` x `request.height`.

        The request is of the kind that the card makes: a VideoRequest or an AvatarRequest.

        Frames are made as they are read. A model without sound of its own passes on
        `conditions.audio`.
        Conditions must be among the card's features. Equal requests, seed included, and equal
        conditions give equal frames on the same device while `made_with` is equal. Raises
        AttemptFailed (kind user, oom, …). After an exception the adapter remains usable.
        """
        ...
