"""The experimental score: high in sync, low when shifted, none where it cannot be told."""

import subprocess
from datetime import timedelta
from functools import cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from service.domain.avatar import FPS, SPEECH_RATE
from service.workers.adapters.base import Frame
from service.workers.puppet import lip_sync
from service.workers.puppet.face import Reals
from service.workers.puppet.lip_sync import compare, score, track_mouth
from service.workers.puppet.lips import LipReader
from service.workers.puppet.puppet import Talker
from tests.workers.puppet.faces import portrait, syllables

SECONDS = 6.0
SOUND = syllables(SECONDS, seed=5)


def write(path: Path, frames: list[Frame]) -> Path:
    height, width = frames[0].shape[:2]
    options = f"-y -v error -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {FPS} -i pipe:0"
    encoding = "-c:v libx264 -preset ultrafast -crf 20 -pix_fmt yuv420p"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *options.split(), *encoding.split(), str(path)]
    subprocess.run(command, input=b"".join(frame.tobytes() for frame in frames), check=True)
    return path


@cache
def talking_frames() -> list[Frame]:
    count = round(SECONDS * FPS)
    return list(Talker(portrait(), LipReader().read(SOUND), SOUND, count, 1).draw())


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("talk") / "talk.mp4", talking_frames())


@pytest.fixture(scope="module")
def gaps(video: Path) -> Reals:
    return track_mouth(video)


def later(milliseconds: int) -> np.ndarray:
    return np.roll(SOUND, milliseconds * SPEECH_RATE // 1000)


def test_a_video_in_sync_scores_high(video: Path) -> None:
    found = score(video, SOUND)

    assert found.score is not None
    assert found.score > 0.9
    assert found.face_coverage == 1.0
    assert found.r is not None
    assert found.r > 0.5
    assert found.offset_ms is not None
    assert abs(found.offset_ms) <= 60
    assert (found.method, found.reason) == ("envelope", None)


@pytest.mark.parametrize("shift", [-400, -200, 200, 400])
def test_a_shifted_sound_scores_low_and_the_offset_is_told(gaps: Reals, shift: int) -> None:
    found = compare(gaps, later(shift))

    assert found.score is not None
    assert found.score < 0.6
    assert found.offset_ms == pytest.approx(shift + (compare(gaps, SOUND).offset_ms or 0), abs=45)


def test_the_farther_it_is_shifted_the_lower_it_scores(gaps: Reals) -> None:
    scores = [compare(gaps, later(shift)).score for shift in (0, 120, 200, 400)]

    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]


def test_another_voice_scores_low(gaps: Reals) -> None:
    others = [compare(gaps, syllables(SECONDS, seed)).score for seed in range(20, 30)]

    assert np.mean(others) < 0.3


def test_a_mouth_that_stands_still_scores_nothing(gaps: Reals) -> None:
    still = compare(np.full_like(gaps, gaps[0]), SOUND)

    assert (still.score, still.reason) == (0.0, "the mouth does not move")


def test_what_cannot_be_told_has_a_reason(gaps: Reals, tmp_path: Path) -> None:
    hidden = np.where(np.arange(len(gaps)) % 2, gaps, np.nan)
    empty = write(tmp_path / "grey.mp4", [np.full((128, 128, 3), 90, np.uint8)] * 50)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")

    assert compare(gaps[:20], SOUND).reason == "the video is too short"
    assert compare(gaps, np.zeros_like(SOUND)).reason == "there is no sound"
    assert compare(gaps, SOUND[:0]).reason == "there is no sound"
    assert compare(hidden, SOUND).reason == "too few frames show a face"
    assert score(empty, SOUND).reason == "too few frames show a face"
    assert score(empty, SOUND).face_coverage == 0.0
    assert score(broken, SOUND).reason == "the video cannot be read"
    for found in (compare(gaps[:20], SOUND), compare(hidden, SOUND), score(broken, SOUND)):
        assert found.score is None


def test_a_machine_that_is_too_slow_is_not_blamed_on_the_video(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lip_sync, "_TIMEOUT", timedelta(0))

    assert score(video, SOUND).reason == "this machine is too slow to measure it"


def test_a_video_of_any_shape_is_read(tmp_path: Path) -> None:
    frames = talking_frames()[:50]
    wide = [np.pad(frame, ((0, 0), (100, 300), (0, 0))) for frame in frames]

    gaps = track_mouth(write(tmp_path / "wide.mp4", wide))

    assert len(gaps) == 50
    assert np.isfinite(gaps).all()
