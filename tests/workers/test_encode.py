import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from service.domain.attempt import AttemptFailed
from service.domain.request import VideoRequest
from service.workers.adapters.base import Frame
from service.workers.stages.check import check
from service.workers.stages.encode import encode
from service.workers.stages.mp4_index import read_index
from tests import make


def frames(request: VideoRequest, count: int | None = None) -> Iterator[Frame]:
    """A grey that grows brighter."""
    total = request.num_frames if count is None else count
    for number in range(total):
        yield np.full((request.height, request.width, 3), (10 + 5 * number) % 256, dtype=np.uint8)


def probe(path: Path) -> str:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def decode(path: Path, request: VideoRequest) -> np.ndarray:
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path),
        "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1",
    ]  # fmt: skip
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, request.height, request.width, 3)


def test_the_file_is_what_every_player_takes(tmp_path: Path) -> None:
    request = make.request(width=128, height=64, num_frames=30, fps=12)

    encoded = encode(frames(request), request, tmp_path / "v.mp4", {"seed": 7})

    said = probe(encoded.path)
    assert "Video: h264 (High)" in said
    assert "yuv420p(tv, bt709, progressive)" in said
    assert "128x64" in said
    assert "12 fps" in said
    assert "Duration: 00:00:02.50" in said
    assert '"seed": 7' in said


def test_the_pictures_are_those_that_went_in(tmp_path: Path) -> None:
    request = make.request(width=128, height=64, num_frames=20)

    encoded = encode(frames(request), request, tmp_path / "v.mp4", {})

    seen = decode(encoded.path, request).mean(axis=(1, 2, 3))
    assert seen == pytest.approx([10 + 5 * n for n in range(20)], abs=2.5)
    assert encoded.middle[0, 0, 0] == 10 + 5 * 10
    assert encoded.last[0, 0, 0] == 10 + 5 * 19


@pytest.mark.parametrize("count", [1, 2, 31])
@pytest.mark.parametrize("size", [(64, 64), (64, 1920), (1920, 66)])
def test_counts_and_sizes_are_exact(tmp_path: Path, count: int, size: tuple[int, int]) -> None:
    request = make.request(width=size[0], height=size[1], num_frames=count, fps=7)

    encoded = encode(frames(request), request, tmp_path / "v.mp4", {})

    check(encoded.path, request)
    index = read_index(encoded.path)
    (track,) = index.tracks
    assert (track.samples, index.is_first) == (count, True)
    assert track.duration * 7 == count * track.timescale
    assert index.duration * 7 == count * index.timescale


def test_keyframes_are_at_most_two_seconds_apart(tmp_path: Path) -> None:
    request = make.request(num_frames=60, fps=12)
    encoded = encode(frames(request), request, tmp_path / "v.mp4", {})
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-skip_frame", "nokey", "-i",
        str(encoded.path), "-f", "rawvideo", "-pix_fmt", "gray", "pipe:1",
    ]  # fmt: skip

    raw = subprocess.run(command, capture_output=True, check=True).stdout

    keyframes = len(raw) / (64 * 64)
    assert keyframes >= 60 / (2 * 12)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_wrong_number_of_frames_is_not_passed_over(tmp_path: Path, count: int) -> None:
    request = make.request(num_frames=3)

    with pytest.raises(AttemptFailed, match=f"made {count} frames instead of 3"):
        encode(frames(request, count), request, tmp_path / "v.mp4", {})


def test_a_frame_of_another_size_is_not_passed_over(tmp_path: Path) -> None:
    request = make.request(num_frames=3)
    other = make.request(num_frames=3, width=66)

    with pytest.raises(AttemptFailed, match="shape"):
        encode(frames(other), request, tmp_path / "v.mp4", {})


def test_what_the_model_raises_passes_and_ffmpeg_ends(tmp_path: Path) -> None:
    request = make.request(num_frames=10)

    def failing() -> Iterator[Frame]:
        yield from frames(request, 2)
        raise KeyError("as planned")

    with pytest.raises(KeyError, match="as planned"):
        encode(failing(), request, tmp_path / "v.mp4", {})


def test_an_ffmpeg_that_fails_says_why(tmp_path: Path) -> None:
    request = make.request(num_frames=3)

    with pytest.raises(AttemptFailed, match="No such file or directory"):
        encode(frames(request), request, tmp_path / "nowhere" / "v.mp4", {})


def test_a_prompt_cannot_reach_ffmpegs_arguments(tmp_path: Path) -> None:
    request = make.request(num_frames=1)
    nasty = {"note": "x' -vf drawtext=text=hello; $(touch pwned) \n=;#"}

    encoded = encode(frames(request), request, tmp_path / "v.mp4", nasty)

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(encoded.path),
               "-f", "ffmetadata", "-"]  # fmt: skip
    metadata = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    comment = next(line for line in metadata.split("\n") if line.startswith("comment="))
    unescaped = comment.removeprefix("comment=").replace("\\=", "=").replace("\\;", ";")
    assert json.loads(unescaped.replace("\\#", "#").replace("\\\\", "\\")) == nasty


def test_ffmpeg_may_read_only_the_pipe_and_write_only_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    real = imageio_ffmpeg.get_ffmpeg_exe()
    listening = tmp_path / "ffmpeg"
    listening.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > '{said}'\nexec '{real}' \"$@\"\n")
    listening.chmod(0o700)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(listening))
    request = make.request(num_frames=1)

    encode(frames(request), request, tmp_path / "v.mp4", {})

    words = said.read_text().splitlines()
    assert words[words.index("-i") - 2 :][:4] == ["-protocol_whitelist", "pipe", "-i", "pipe:0"]
    assert words[-3:] == ["-protocol_whitelist", "file", f"file:{tmp_path / 'v.mp4'}"]
