"""The puppet as an adapter: a photo that speaks, without GPU or weights to fetch."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from service.domain.attempt import Profile, Stage
from service.domain.avatar import AvatarRequest
from service.domain.models.card import ModelCard
from service.domain.models.tuning import DEFAULT_TUNING, Tuning
from service.workers.adapters.base import Clip, Conditions, Frame, OnStep, Speech, audio_of_segment

if TYPE_CHECKING:
    from service.workers.puppet.puppet import Talker


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
        # The last voice, seed and talker: all segments of a video are drawn by it.
        self._talker: tuple[Speech, int, Talker] | None = None

    def load(self, profile: Profile = Profile.FULL) -> None:
        """Do nothing: its models are small, and loaded where they are used."""

    def generate(self, request: AvatarRequest, conditions: Conditions, on_step: OnStep) -> Clip:
        audio, shape = conditions.audio, request.shape
        assert audio is not None, "an avatar has a voice"
        sound = audio_of_segment(audio, conditions.start, shape.num_frames, request.fps)
        return Clip(self._draw(request, conditions, on_step), sound)

    def _draw(
        self, request: AvatarRequest, conditions: Conditions, on_step: OnStep
    ) -> Iterator[Frame]:
        count = request.shape.num_frames
        frames = self._find_talker(request, conditions).draw(conditions.start)
        for number in range(count):
            frame = next(frames)
            on_step(Stage.GENERATE, number + 1, count)
            yield frame

    def _find_talker(self, request: AvatarRequest, conditions: Conditions) -> "Talker":
        """Return the talker of the whole video, which its first segment makes."""
        speech = conditions.speech
        assert speech is not None, "an avatar has a voice"
        last = self._talker
        if last is None or last[0] is not speech or last[1] != request.seed:
            last = (speech, request.seed, _make_talker(request, conditions, speech))
            self._talker = last
        return last[2]


def _make_talker(request: AvatarRequest, conditions: Conditions, speech: Speech) -> "Talker":
    from service.workers.puppet.articulation import pose_curve
    from service.workers.puppet.lips import LipReader
    from service.workers.puppet.puppet import Talker

    assert conditions.portrait is not None, "the card needs a photo"
    total = conditions.video_frames or request.shape.num_frames
    if speech.phones is None:
        lips = LipReader().read(speech.samples)
    else:
        lips = pose_curve(speech.phones, total / request.fps)
    return Talker(conditions.portrait, lips, speech.samples, total, request.seed)
