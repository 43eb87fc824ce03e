"""Sound in finished videos: as long as the frames, and where it was in the video it came from."""

import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

from service.artifacts.files import Files
from service.domain.attempt import AttemptFailed, Outcome, Profile, input_key
from service.domain.ids import JobId
from service.domain.media import MediaRef
from service.domain.models.catalog import SLATE
from service.domain.request import VideoRequest
from service.workers.adapters.base import (
    AUDIO_RATE,
    Audio,
    Clip,
    Conditions,
    OnStep,
    audio_samples,
)
from service.workers.adapters.registry import make_adapter
from service.workers.recipe import WorkerEnvironment, make_video
from service.workers.stages.check import check
from service.workers.stages.inputs.media import decode_sound
from service.workers.stages.mp4_index import read_index
from tests import make
from tests.workers.test_checkpoints import CARD, Drifting

# One second of silence, a second of a tone, then silence; the video is two and a half seconds.
LATE_TONE = (
    "-f lavfi -i testsrc=size=64x64:rate=24:duration=2.5 "
    "-f lavfi -i aevalsrc=sin(2*PI*440*t)*between(t\\,1\\,2)*0.5:s=44100:d=2.5 "
    "-c:v libx264 -pix_fmt yuv420p -c:a {codec} {options}"
)
SILENT = "-f lavfi -i testsrc=size=64x64:rate=24:duration=2.5 -c:v libx264 -pix_fmt yuv420p"


def ffmpeg(*arguments: str) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def sound_of(path: Path) -> NDArray[np.int16]:
    """All samples as a player hears them, mono."""
    content = ffmpeg("-i", str(path), *"-map 0:a:0 -ac 1 -ar 48000 -f s16le pipe:1".split())
    return np.frombuffer(content, np.int16)


def tone_in(samples: NDArray[np.int16]) -> tuple[float, float]:
    """The seconds at which the tone begins and ends."""
    (loud,) = np.nonzero(np.abs(samples.astype(int)) > 1000)
    return loud[0] / AUDIO_RATE, loud[-1] / AUDIO_RATE


@pytest.fixture
def artifacts(tmp_path: Path) -> Files:
    return Files(tmp_path / "artifacts")


def made_over(artifacts: Files, recipe: str, suffix: str = "mp4", **changes: Any) -> Outcome:
    """A slate over a video that ffmpeg makes by `recipe`."""
    source = artifacts._root.parent / f"source.{suffix}"
    ffmpeg(*recipe.split(), str(source))
    ticket = make.ticket(
        request=make.request(
            **{
                "num_frames": 48,
                "fps": 24,
                "video": MediaRef(source="upload", media_type="video/mp4"),
                "strength": 0.5,
                "keep_audio": True,
                **changes,
            }
        )
    )
    artifacts.put(input_key(JobId(ticket.job_id), "video"), source, "video/mp4")
    scratch = artifacts._root.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return make_video(
        ticket,
        make_adapter(SLATE),
        WorkerEnvironment(artifacts, scratch),
        "jobs/j/2",
        lambda *_: None,
    )


def file_of(artifacts: Files, outcome: Outcome) -> Path:
    path = artifacts.path(outcome.facts.video.key)
    assert path is not None
    return path


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [("mp4", "aac", "-b:a 160k"), ("webm", "libopus", "-c:v libvpx"), ("mov", "pcm_s16le", "")],
)
def test_a_video_keeps_the_sound_of_the_one_it_is_made_over_cut_to_its_length(
    artifacts: Files, suffix: str, codec: str, options: str
) -> None:
    outcome = made_over(artifacts, LATE_TONE.format(codec=codec, options=options), suffix)

    path = file_of(artifacts, outcome)
    samples = sound_of(path)
    assert outcome.facts.has_audio
    assert len(samples) == 2 * AUDIO_RATE
    begin, _ = tone_in(samples)
    assert begin == pytest.approx(1.0, abs=0.002)
    (sound,) = (track for track in read_index(path).tracks if track.handler == "soun")
    assert (sound.timescale, sound.duration) == (AUDIO_RATE, 2 * AUDIO_RATE)


def test_sound_that_begins_later_than_the_video_stays_where_it_was(artifacts: Files) -> None:
    recipe = (
        "-f lavfi -i testsrc=size=64x64:rate=24:duration=2.5 "
        "-itsoffset 0.75 -f lavfi -i sine=frequency=440:duration=1 "
        "-c:v libx264 -pix_fmt yuv420p -c:a aac"
    )

    outcome = made_over(artifacts, recipe)

    begin, end = tone_in(sound_of(file_of(artifacts, outcome)))
    assert begin == pytest.approx(0.75, abs=0.03)  # the fade of the encoder
    assert end == pytest.approx(1.75, abs=0.03)


def test_a_video_that_is_to_have_no_sound_has_none(artifacts: Files) -> None:
    outcome = made_over(artifacts, LATE_TONE.format(codec="aac", options=""), keep_audio=False)

    assert not outcome.facts.has_audio
    assert [t.handler for t in read_index(file_of(artifacts, outcome)).tracks] == ["vide"]


def test_over_a_silent_video_nothing_is_heard_and_nothing_fails(artifacts: Files) -> None:
    outcome = made_over(artifacts, SILENT)

    assert not outcome.facts.has_audio
    assert [t.handler for t in read_index(file_of(artifacts, outcome)).tracks] == ["vide"]


def test_sound_in_a_codec_that_is_not_read_is_refused_with_the_way_out(artifacts: Files) -> None:
    with pytest.raises(AttemptFailed, match=r"codec mp2.*keep_audio false") as failed:
        made_over(artifacts, LATE_TONE.format(codec="mp2", options=""), "mkv")

    assert failed.value.code == "media_codec"


@pytest.mark.parametrize(("fps", "frames"), [(12, 13), (7, 10), (24, 49), (30, 31)])
def test_sound_is_as_long_as_the_frames_at_any_rate(
    artifacts: Files, fps: int, frames: int
) -> None:
    recipe = LATE_TONE.format(codec="aac", options="")

    outcome = made_over(artifacts, recipe, fps=fps, num_frames=frames)

    assert len(sound_of(file_of(artifacts, outcome))) == frames * AUDIO_RATE // fps


class Singing(Drifting):
    """With a tone whose phase runs on through all segments of the video."""

    def load(self, profile: Profile = Profile.FULL) -> None: ...

    def generate(self, request: VideoRequest, conditions: Conditions, on_step: OnStep) -> Clip:
        clip: Clip = super().generate(request, conditions, on_step)
        first = audio_samples(conditions.start, request.fps)
        times = np.arange(first, first + audio_samples(request.num_frames, request.fps))
        tone = np.sin(times * 2 * np.pi * 330 / AUDIO_RATE) * 8000
        return Clip(clip.frames, Audio(tone.astype(np.int16)[:, None]))


def sung(artifacts: Files, adapter: Singing, fence: int, fps: int = 7) -> Path:
    request = make.request(width=96, height=64, fps=fps, num_frames=12, seed=7)
    ticket = make.ticket(request=request, card=CARD)
    scratch = artifacts._root.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    outcome = make_video(
        ticket,
        adapter,
        WorkerEnvironment(artifacts, scratch),
        f"jobs/{ticket.job_id}/{fence}",
        lambda *_: None,
    )
    return file_of(artifacts, outcome)


def test_the_sound_of_segments_is_one_tone_without_a_gap(artifacts: Files) -> None:
    samples = sound_of(sung(artifacts, Singing(), 2))

    expected = np.sin(np.arange(len(samples)) * 2 * np.pi * 330 / AUDIO_RATE) * 8000
    assert len(samples) == 12 * AUDIO_RATE // 7
    assert np.abs(samples[2000:-2000] - expected[2000:-2000]).max() < 600


def test_segments_that_an_attempt_left_bring_their_sound_along(
    artifacts: Files, tmp_path: Path
) -> None:
    whole = sound_of(sung(Files(tmp_path / "other"), Singing(), 2))
    with pytest.raises(KeyboardInterrupt):
        sung(artifacts, Singing(dies_in=2), 2)

    again = sound_of(sung(artifacts, Singing(), 3))

    assert np.array_equal(again, whole)


def test_an_adapter_whose_sound_is_too_short_fails_its_attempt(artifacts: Files) -> None:
    class Hoarse(Singing):
        def generate(self, request: VideoRequest, conditions: Conditions, on_step: OnStep) -> Clip:
            clip = super().generate(request, conditions, on_step)
            assert clip.audio is not None
            return Clip(clip.frames, Audio(clip.audio.samples[:100]))

    with pytest.raises(AttemptFailed, match="100 samples of sound"):
        sung(artifacts, Hoarse(), 2)


def test_a_file_whose_sound_is_missing_cut_or_uncalled_for_is_found_out(
    artifacts: Files, tmp_path: Path
) -> None:
    outcome = made_over(artifacts, LATE_TONE.format(codec="aac", options=""))
    path, request = file_of(artifacts, outcome), make.request(num_frames=48, fps=24)
    cut = tmp_path / "cut.mp4"
    scale = "-video_track_timescale 12288 -movie_timescale 12288 -movflags +faststart"
    sound = "-map 0:v:0 -map 1:a:0 -c:v copy -c:a aac -af atrim=duration=1.5"
    ffmpeg("-i", str(path), "-i", str(path), *f"{sound} {scale}".split(), str(cut))

    check(path, request, has_audio=True)
    with pytest.raises(AttemptFailed, match="it has sound"):
        check(path, request)
    with pytest.raises(AttemptFailed, match=r"its sound lasts 1\.5"):
        check(cut, request, has_audio=True)


@pytest.mark.parametrize("late", ["video", "audio"])
def test_a_sound_that_begins_apart_from_the_video_stays_in_step(
    artifacts: Files, late: str, tmp_path: Path
) -> None:
    """The tone begins at 1 s of its track, half a second before or after that of the video."""
    whole = tmp_path / "whole.mp4"
    ffmpeg(*LATE_TONE.format(codec="aac", options="").split(), str(whole))
    order = ("-itsoffset", "0.5", "-i", str(whole), "-i", str(whole))
    maps = ("0:v", "1:a") if late == "video" else ("1:v", "0:a")
    apart = tmp_path / "apart.mov"
    ffmpeg(*order, "-map", maps[0], "-map", maps[1], "-c", "copy", str(apart))

    sound = decode_sound(apart, AUDIO_RATE * 2, max_bytes=10**8)

    assert sound is not None
    begins, _ = tone_in(sound[:, 0])
    assert begins == pytest.approx(0.5 if late == "video" else 1.5, abs=0.03)
