"""Evidence on finished videos: sound in place, mouth in time, lips closed, and a score that tells.

Each video is made by the whole recipe, of a drawn face and one of two voices: the offline one as a
text, whose lips follow its own sounds, and espeak-ng as a recording, whose lips follow what is
heard.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.artifacts.files import Files
from service.domain.attempt import Outcome
from service.domain.media import MediaRef
from service.domain.speech import Phone
from service.workers.adapters.base import Audio
from service.workers.puppet.face import FaceFinder, Reals
from service.workers.puppet.lip_sync import compare, score, track_mouth
from service.workers.puppet.photo import frame_portrait
from service.workers.stages.avatar import _to_speech_rate
from service.workers.stages.inputs.images import read_image
from service.workers.stages.mp4_index import read_index
from tests.speech import formant
from tests.speech.sound import levels
from tests.workers.avatars import FACES, heard, keep, make, speak, video_of, write_wav
from tests.workers.puppet.test_lip_sync import write

pytestmark = pytest.mark.slow

TEXT = (
    "Hello, and welcome. My lips close for words like mama, papa and baby, on a map, a bumpy pump "
    "and a lamp, and they round for a blue moon. If you can see that, everything works."
)
# Many short closures, one soon after another.
TWISTER = (
    "Peter Piper picked a peck of pickled peppers. My mom made a map, Bob became a big boy, and "
    "maybe people remember him."
)
OTHER_TEXT = (
    "The committee met on Thursday afternoon to review seventeen proposals about water quality. "
    "After a long debate they adopted five of them and sent the others back."
)
FPS, RATE = 25, 16_000
FRAME_MS = 1000 / FPS
CLOSED = 0.012  # above the lips at rest, in eye distances


def recording(text: str, file: Path) -> Path:
    """Another voice, by another program. The service knows no times of it."""
    spoken = formant.speak(text)
    return write_wav(levels(spoken), spoken.rate, file)


@dataclass(frozen=True)
class Made:
    """A finished video of a face and a voice."""

    face: str
    voice: str
    artifacts: Files
    outcome: Outcome

    @cached_property
    def file(self) -> Path:
        return video_of(self.artifacts, self.outcome)

    @cached_property
    def gaps(self) -> Reals:
        return track_mouth(self.file)

    @cached_property
    def sound(self) -> np.ndarray:
        """What is heard in the video: float32, mono, RATE."""
        return _to_speech_rate(Audio(heard(self.file)))

    @cached_property
    def source(self) -> np.ndarray:
        """What was to be spoken, decoded as the video is."""
        folder = self.artifacts._root.parent
        if self.voice == "recording":
            return heard(recording(TEXT, folder / "again.wav"))
        spoken = speak(TEXT)
        return heard(write_wav(levels(spoken), spoken.rate, folder / "again.wav"))


def make_speaker(folder: Path, face: str, voice: str) -> Made:
    folder.mkdir()
    artifacts = Files(folder / "artifacts")
    words: dict[str, Any] = {"text": TEXT}
    if voice == "recording":
        keep(artifacts, "audio", recording(TEXT, folder / "voice.wav"))
        words = {"audio": MediaRef(source="upload", media_type="audio/wav")}
    return Made(face, voice, artifacts, make(artifacts, face=FACES[face], **words))


PAIRS = [(face, voice) for face in FACES for voice in ("offline", "recording")]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    face, voice = request.param
    return make_speaker(tmp_path_factory.mktemp("speakers") / f"{face}-{voice}", face, voice)


def test_the_video_is_exactly_as_long_as_its_sound(made: Made) -> None:
    index = read_index(made.file)
    frames = int(np.ceil(len(made.source) / 48_000 * FPS - 1e-6))
    sound = index.track("soun")

    assert index.tracks[0].samples == made.outcome.facts.num_frames == frames
    assert sound is not None
    assert sound.duration == frames * 48_000 // FPS


def test_the_sound_is_where_it_was_to_a_millisecond(made: Made) -> None:
    assert abs(delay(made.source, heard(made.file))) < 48


def delay(before: np.ndarray, after: np.ndarray) -> int:
    """By how many samples the second sound, which is as the first, is later."""
    first, second = (sound[:, 0].astype(float) for sound in (before, after))
    size = 2 ** int(np.ceil(np.log2(len(first) + len(second))))
    agreement = np.fft.irfft(np.conj(np.fft.rfft(first, size)) * np.fft.rfft(second, size), size)
    lag = int(agreement.argmax())
    return lag if lag < size / 2 else lag - size


def test_the_mouth_moves_with_the_voice_within_two_frames(made: Made) -> None:
    found = made.outcome.facts.lip_sync

    assert found is not None
    assert found.score is not None
    assert found.score > 0.9
    assert found.face_coverage == 1.0
    assert found.offset_ms is not None
    assert abs(found.offset_ms) < 2 * FRAME_MS


def sounds(made: Made, names: str) -> list[Phone]:
    """The sounds of these names, as the voice itself times them."""
    spoken = formant.speak(TEXT) if made.voice == "recording" else speak(TEXT)
    return [phone for phone in spoken.phones or () if phone.name in names]


def around(gaps: Reals, phone: Phone, frames: int) -> Reals:
    middle = int((phone.start + phone.end) / 2 * FPS)
    return gaps[max(0, middle - frames) : middle + frames + 1]


def num_closed(gaps: Reals, closures: list[Phone]) -> int:
    rest = float(np.percentile(gaps, 5))
    return sum(around(gaps, phone, 1).min() < rest + CLOSED for phone in closures)


def test_lips_close_on_fifteen_of_sixteen_bilabials(made: Made) -> None:
    closures = sounds(made, "m")

    assert len(closures) >= 16
    assert num_closed(made.gaps, closures) >= 15 / 16 * len(closures)


@pytest.mark.parametrize(
    ("text", "share"), [(TEXT, 15 / 16), (TWISTER, 4 / 5)], ids=["text", "twister"]
)
def test_lips_close_on_most_bilabials_of_the_offline_voice_as_a_recording(
    tmp_path: Path, text: str, share: float
) -> None:
    """Of three faces together: some closures are so short that they are hardly heard."""
    spoken = speak(text)
    closures = [phone for phone in spoken.phones or () if phone.name == "m"]
    file = write_wav(levels(spoken), spoken.rate, tmp_path / "voice.wav")
    audio = MediaRef(source="upload", media_type="audio/wav")

    counts = []
    for face in FACES:
        (tmp_path / face).mkdir()
        artifacts = Files(tmp_path / face / "artifacts")
        keep(artifacts, "audio", file)
        outcome = make(artifacts, face=FACES[face], audio=audio)
        counts.append(num_closed(track_mouth(video_of(artifacts, outcome)), closures))

    assert len(closures) >= 16
    assert sum(counts) >= share * len(closures) * len(counts), counts


def test_open_vowels_are_open(made: Made) -> None:
    rest = float(np.percentile(made.gaps, 5))

    openings = [around(made.gaps, phone, 1).max() - rest for phone in sounds(made, "aæ")]

    assert np.median(openings) > 2 * CLOSED


def later(sound: np.ndarray, milliseconds: int) -> np.ndarray:
    """The sound, moved by so much against the picture, in silence."""
    by = milliseconds * RATE // 1000
    moved = np.zeros_like(sound)
    moved[max(0, by) : len(sound) + min(0, by)] = sound[max(0, -by) : len(sound) - max(0, by)]
    return moved


def test_the_score_falls_the_farther_the_sound_is_from_the_mouth(made: Made) -> None:
    found = {by: compare(made.gaps, later(made.sound, by)) for by in (0, 80, -80, 200, -200, 400)}

    scores = {by: one.score for by, one in found.items()}
    told, seen = made.outcome.facts.lip_sync, found[0]
    assert told is not None
    assert (told.score, told.offset_ms) == pytest.approx((seen.score, seen.offset_ms), abs=0.01)
    for sign in (1, -1):
        assert scores[0] > scores[sign * 80] > 0.7
        assert 0.5 > scores[sign * 200] > 0.1
    assert scores[400] == 0.0
    for by, one in found.items():
        assert one.offset_ms == pytest.approx(by + found[0].offset_ms, abs=10)


def test_the_score_of_other_speech_is_below_that_of_the_speech_80_ms_off(made: Made) -> None:
    if made.voice == "recording":
        file = recording(OTHER_TEXT, made.artifacts._root.parent / "other.wav")
    else:
        spoken = speak(OTHER_TEXT)
        folder = made.artifacts._root.parent
        file = write_wav(levels(spoken), spoken.rate, folder / "other.wav")
    other = _to_speech_rate(Audio(heard(file)))

    found = compare(made.gaps, other[: len(made.sound)])

    assert found.score is not None
    assert found.score < 0.5


def test_a_still_photo_scores_nothing_and_silence_has_no_score(made: Made, tmp_path: Path) -> None:
    photo = np.array(read_image(FACES[made.face]), dtype=np.uint8)
    still = frame_portrait(photo, 256, 256, FaceFinder()).image
    file = write(tmp_path / "still.mp4", [still] * 100)

    assert score(file, made.sound[: 4 * RATE]).score == 0.0
    assert compare(made.gaps, np.zeros_like(made.sound)).score is None


def test_one_seed_gives_the_same_frames_and_another_others(tmp_path: Path) -> None:
    artifacts = Files(tmp_path / "artifacts")

    first, again, other = (
        video_of(artifacts, make(artifacts, fence, FACES["anna"], text="Hello.", seed=seed))
        for fence, seed in ((2, 3), (4, 3), (6, 4))
    )

    assert np.array_equal(pixels(first), pixels(again))
    assert first.read_bytes() == again.read_bytes()
    assert not np.array_equal(pixels(first)[:20], pixels(other)[:20])


def pixels(file: Path) -> np.ndarray:
    """All frames of a video of 256 x 256."""
    from tests import make as defaults
    from tests.workers.test_encode import decode

    return np.asarray(decode(file, defaults.request(width=256, height=256)))
