"""A voice, with a photo or without, through the whole recipe to the stored video of LongCat.

The models are those of a double, so that frames say nothing about LongCat; their number, their
order, the sound, the progress and what is resumed are those of the real recipe.
"""

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.artifacts.files import Files
from service.domain.attempt import AttemptFailed, FailureKind, Outcome, Stage, Ticket, input_key
from service.domain.avatar import AvatarRequest
from service.domain.ids import JobId
from service.domain.media import MediaRef
from service.domain.models.card import ModelCard
from service.workers.adapters.longcat import Longcat
from service.workers.recipe import WorkerEnvironment, make_video
from service.workers.stages.inputs.media import decode_speech
from service.workers.stages.mp4_index import read_index
from tests.workers.puppet.faces import PRESENTER
from tests.workers.test_encode import decode

pytestmark = pytest.mark.slow

JOB = JobId("job_06h0d9vq1dp9l4uu8vk1jbtr78")
ONE_CLIP, THREE_CLIPS = 1.6, 8.0  # seconds: 40 frames, and 200 of 93 + 80 + 27


class Studio:
    """Makes the videos of one job, each attempt with an adapter of its own."""

    def __init__(self, folder: Path, card: ModelCard, weights: Path) -> None:
        self.folder, self.card, self.weights = folder, card, weights
        self.artifacts = Files(folder / "artifacts")
        self.adapter = Longcat(card, weights)

    def ticket(self, seconds: float, *, photo: bool, **changes: Any) -> Ticket:
        self.keep("audio", voice(self.folder / "voice.wav", seconds))
        if photo:
            self.keep("reference_image", PRESENTER)
        request = AvatarRequest(
            model="longcat",
            prompt="A woman talks.",
            width=96,
            height=64,
            num_frames=None,
            fps=25,
            seed=3,
            num_inference_steps=8,
            audio=MediaRef(source="upload", media_type="audio/wav"),
            reference_image=MediaRef(source="upload") if photo else None,
        ).model_copy(update=changes)
        return Ticket(
            job_id=JOB,
            attempt=1,
            fence=2,
            token="t" * 40,
            request=request,
            card=self.card,
            api_url="http://rushes.test",
        )

    def keep(self, role: str, file: Path) -> None:
        copy = self.folder / f"{role}.part"
        copy.write_bytes(file.read_bytes())
        self.artifacts.put(input_key(JOB, role), copy, "application/octet-stream")

    def make(
        self, ticket: Ticket, fence: int = 2, on_step: Callable[..., None] = lambda *_: None
    ) -> Outcome:
        self.adapter = Longcat(self.card, self.weights)  # as another process would
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        environment = WorkerEnvironment(self.artifacts, scratch)
        return make_video(ticket, self.adapter, environment, f"jobs/{JOB}/{fence}", on_step)

    @property
    def clips(self) -> list[str]:
        """The clips that the last attempt generated."""
        names = [name for name, _ in self.adapter._pipe.calls]
        return [name for name in names if name in ("at2v", "ai2v", "avc")]

    def video(self, outcome: Outcome) -> Path:
        path = self.artifacts.path(outcome.facts.video.key)
        assert path is not None
        return path


def voice(file: Path, seconds: float) -> Path:
    """Syllables of a hum, each louder than the one before."""
    times = np.arange(round(seconds * 48_000)) / 48_000
    levels = 0.9 * times / seconds * np.sin(2 * np.pi * 180 * times)
    levels *= np.abs(np.sin(2 * np.pi * 2 * times))
    with wave.open(str(file), "wb") as target:
        target.setparams((1, 2, 48_000, 0, "NONE", ""))
        target.writeframes((levels * 32767).astype("<i2").tobytes())
    return file


@pytest.fixture
def studio(tmp_path: Path, card: ModelCard, weights: Path) -> Studio:
    return Studio(tmp_path, card, weights)


@pytest.mark.parametrize("photo", [True, False], ids=["photo", "no photo"])
@pytest.mark.parametrize(("seconds", "frames", "clips"), [(ONE_CLIP, 40, 1), (THREE_CLIPS, 200, 3)])
def test_a_voice_becomes_a_video_of_exactly_its_length(
    studio: Studio, seconds: float, frames: int, clips: int, photo: bool
) -> None:
    ticket = studio.ticket(seconds, photo=photo)

    outcome = studio.make(ticket)

    facts, video = outcome.facts, studio.video(outcome)
    assert (facts.num_frames, facts.has_audio, facts.sandbox) == (frames, True, False)
    shown = decode(video, ticket.request.model_copy(update={"num_frames": frames}))  # type: ignore[arg-type]
    assert len(shown) == frames
    sound = read_index(video).track("soun")
    assert sound is not None
    assert sound.duration == frames * 1920
    first = "ai2v" if photo else "at2v"
    assert studio.clips == [first, *["avc"] * (clips - 1)]
    assert len(facts.seams) == clips - 1
    assert facts.made_with["attention"] == "torch"
    assert facts.lip_sync is not None
    assert facts.lip_sync.score is None  # the double shows no face
    assert outcome.timings_ms.keys() >= {"generate", "decode"}


def test_the_sound_is_the_voice_from_the_first_frame(studio: Studio) -> None:
    outcome = studio.make(studio.ticket(THREE_CLIPS, photo=False))

    limits = {"max_bytes": 10**8, "max_seconds": 60.0}
    heard, spoken = (
        decode_speech(file, **limits)[:, 0].astype(float)
        for file in (studio.video(outcome), studio.folder / "voice.wav")
    )
    for second in range(1, 8):
        part = slice(second * 48_000 - 12_000, second * 48_000 + 12_000)
        assert np.corrcoef(heard[part], spoken[part])[0, 1] > 0.99


def test_a_shorter_duration_generates_no_clip_that_is_not_shown(studio: Studio) -> None:
    outcome = studio.make(studio.ticket(THREE_CLIPS, photo=False, num_frames=94))

    assert outcome.facts.num_frames == 94
    assert studio.clips == ["at2v", "avc"]


@pytest.mark.parametrize("photo", [True, False], ids=["photo", "no photo"])
@pytest.mark.parametrize(("dies_in", "rest"), [(0, 3), (1, 2), (2, 1)])
def test_a_killed_worker_s_video_goes_on_and_is_the_same(
    studio: Studio, dies_in: int, rest: int, photo: bool
) -> None:
    ticket = studio.ticket(THREE_CLIPS, photo=photo)
    whole = studio.video(studio.make(ticket, fence=2)).read_bytes()

    def die(stage: Stage, step: int, total: int) -> None:
        if (stage, step, total) == (Stage.GENERATE, 8 * dies_in + 4, 24):
            raise KeyboardInterrupt  # as sudden as a kill

    with pytest.raises(KeyboardInterrupt):
        studio.make(ticket, 4, die)
    resumed = studio.video(studio.make(ticket, fence=6))

    assert len(studio.clips) == rest
    assert resumed.read_bytes() == whole


def test_progress_goes_up_clip_by_clip(studio: Studio) -> None:
    told: list[tuple[Stage, int, int]] = []

    studio.make(
        studio.ticket(THREE_CLIPS, photo=False), on_step=lambda *report: told.append(report)
    )

    generated = [(step, total) for stage, step, total in told if stage is Stage.GENERATE]
    assert {total for _, total in generated if total > 3} == {24}
    shares = [step / total for step, total in generated]
    assert shares == sorted(shares)
    assert {step for step, total in generated if total == 24} == set(range(1, 25))
    assert shares[-1] == 1


def test_a_cancel_between_two_steps_ends_the_attempt(studio: Studio) -> None:
    canceled = AttemptFailed(FailureKind.CANCELED, "canceled", "by its owner")
    told: list[tuple[Stage, int, int]] = []

    def cancel(*report: Any) -> None:
        told.append(report)
        if report == (Stage.GENERATE, 12, 24):
            raise canceled

    with pytest.raises(AttemptFailed) as ended:
        studio.make(studio.ticket(THREE_CLIPS, photo=False), on_step=cancel)

    assert ended.value is canceled
    assert told[-1] == (Stage.GENERATE, 12, 24)
    assert studio.clips == ["at2v", "avc"]


def test_a_photo_is_warned_of_and_not_refused(studio: Studio) -> None:
    outcome = studio.make(studio.ticket(ONE_CLIP, photo=True))

    assert outcome.facts.warnings == ("the face is small in the video: its lips will be coarse",)
