"""What every video model's code looks like from outside."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.attempt import Stage
from service.domain.models.tuning import Profile
from service.domain.request import VideoRequest

# One picture: uint8, shape (height, width, 3), RGB.
Frame: TypeAlias = NDArray[np.uint8]
# Pictures in their order: uint8, shape (frames, height, width, 3), RGB.
Film: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class Conditions:
    """What a clip is to follow besides the prompt, each at exactly the size of the request.

    `image` is its first frame and `last_image` its last; each of `keyframes` is shown at a frame on
    the way, counted from 0; `video` is what it is made over, by the request's strength; `tail` is
    the end of the clip that it continues, whose moments it shows again as its own beginning.
    The clip's first frame is frame `start` of a video of `video_frames`; None: the clip is all.
    """

    image: Frame | None = None
    last_image: Frame | None = None
    keyframes: tuple[tuple[int, Frame], ...] = ()
    video: Film | None = None
    tail: Film | None = None
    start: int = 0
    video_frames: int | None = None


NOTHING = Conditions()  # text to video


class OnStep(Protocol):
    """Called after every step of a stage, with steps done and steps in all.

    Raises AttemptFailed when the job was canceled, Lost when the attempt is no longer ours and
    WorkerStopping when the worker is to end; an adapter lets each of them pass, so that they take
    hold within one step.
    """

    def __call__(self, stage: Stage, done: int, of: int) -> None: ...


class Adapter(Protocol):
    """Drives one model. Loaded once, used for many jobs until another model takes its place.

    Adapters are built as `Adapter(card, weights, levers)`: the model's card, a local folder to
    load the weights from, or None to fetch those that the card names, and how to run it.
    """

    @property
    def gpu(self) -> str | None:
        """The accelerator in use, as its maker names it; None on a CPU. Known after `load`."""
        ...

    @property
    def made_with(self) -> dict[str, str]:
        """How the last clip was made, as a few words each; empty where there is no choice."""
        ...

    def load(self, profile: Profile = Profile.FULL) -> None:
        """Bring the model to where it runs; once it is there, do nothing.

        With another profile than before it is only placed anew, so that after a failure for want
        of memory the same model can be had in less. Raises AttemptFailed when it cannot be done;
        it may then be tried again.
        """
        ...

    def generate(
        self, request: VideoRequest, conditions: Conditions, on_step: OnStep
    ) -> Iterator[Frame]:
        """Yield exactly `request.num_frames` frames of `request.width` x `request.height`.

        Only conditions that the card's features name are handed in. The same request, seed
        included, and the same conditions give the same frames on the same device, as long as
        `made_with` is the same. Raises AttemptFailed (kind user, oom, …). After an exception the
        adapter can be used again.
        """
        ...
