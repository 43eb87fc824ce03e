"""The puppet as an adapter: a photo that speaks, without GPU or weights to fetch."""

from collections.abc import Iterator
from pathlib import Path

from service.domain.attempt import Profile, Stage
from service.domain.avatar import AvatarRequest
from service.domain.models.card import ModelCard
from service.domain.models.tuning import DEFAULT_TUNING, Tuning
from service.workers.adapters.base import Clip, Conditions, Frame, OnStep, audio_of_segment


class Puppet:
    """An Adapter that draws on a CPU. Its clips continue each other by their start alone."""

    gpu: str | None = None

    def __init__(
        self,
        _card: ModelCard,
        _weights: Path | None = None,
        _tuning: Tuning = DEFAULT_TUNING,
    ) -> None:
        """Accept the arguments of every adapter and ignore them."""
        self.made_with: dict[str, str] = {}

    def load(self, profile: Profile = Profile.FULL) -> None:
        """Do nothing: its models are small, and loaded where they are used."""

    def generate(self, request: AvatarRequest, conditions: Conditions, on_step: OnStep) -> Clip:
        audio, shape = conditions.audio, request.shape
        assert audio is not None, "an avatar has a voice"
        sound = audio_of_segment(audio, conditions.start, shape.num_frames, request.fps)
        return Clip(_draw(request, conditions, on_step), sound)


def _draw(request: AvatarRequest, conditions: Conditions, on_step: OnStep) -> Iterator[Frame]:
    from service.workers.puppet.articulation import pose_curve
    from service.workers.puppet.lips import LipReader
    from service.workers.puppet.puppet import draw_frames

    portrait, speech, shape = conditions.portrait, conditions.speech, request.shape
    assert portrait is not None, "the card needs a photo"
    assert speech is not None, "an avatar has a voice"
    total = conditions.video_frames or shape.num_frames
    if speech.phones is None:
        lips = LipReader().read(speech.samples)
    else:
        lips = pose_curve(speech.phones, total / request.fps)
    frames = draw_frames(
        portrait, lips, speech.samples, total, request.seed, start=conditions.start
    )
    for number in range(shape.num_frames):
        frame = next(frames)
        on_step(Stage.GENERATE, number + 1, shape.num_frames)
        yield frame
