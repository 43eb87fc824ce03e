import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from service.domain.attempt import AttemptFailed
from service.workers.stages.check import check, loop_seam
from service.workers.stages.encode import encode
from service.workers.stages.mp4_index import read_index
from tests import make
from tests.workers.test_encode import frames

ASKED = make.request(num_frames=12)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return encode(frames(ASKED), ASKED, tmp_path / "v.mp4", {}).path


def test_a_good_file_passes(video: Path) -> None:
    check(video, ASKED)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_frames": 13}, "12 frames instead of 13"),
        ({"fps": 24}, "1.000 s instead of 0.500 s"),
        ({"width": 66}, "does not decode to 66x64"),
    ],
)
def test_a_file_that_is_not_as_asked_is_refused(
    video: Path, change: dict[str, int], words: str
) -> None:
    with pytest.raises(AttemptFailed, match=words):
        check(video, make.request(**{"num_frames": 12, **change}))


@pytest.mark.parametrize("keep", [0, 10, 40, 600])
def test_a_file_that_was_cut_off_is_refused(video: Path, keep: int) -> None:
    video.write_bytes(video.read_bytes()[:keep])

    with pytest.raises(AttemptFailed):
        check(video, ASKED)


def test_a_container_that_rounds_its_duration_is_refused(tmp_path: Path) -> None:
    third = make.request(num_frames=1, fps=3)
    exact = encode(frames(third), third, tmp_path / "v.mp4", {}).path
    content = exact.read_bytes()
    clock = content.index(b"mvhd") + 16  # after version, flags and two dates
    rounded = tmp_path / "rounded.mp4"
    rounded.write_bytes(content[:clock] + struct.pack(">II", 1000, 333) + content[clock + 8 :])

    check(exact, third)
    with pytest.raises(AttemptFailed, match=r"its container says 0\.333000 s"):
        check(rounded, third)


def test_pictures_that_do_not_decode_are_refused(video: Path) -> None:
    content = bytearray(video.read_bytes())
    start = content.index(b"mdat") + 4
    content[start : start + 2000] = b"\x00" * min(2000, len(content) - start)
    video.write_bytes(bytes(content))

    with pytest.raises(AttemptFailed):
        check(video, ASKED)


def test_an_index_at_the_end_is_seen(video: Path, tmp_path: Path) -> None:

    late = tmp_path / "late.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(video), "-c", "copy",
               str(late)]  # fmt: skip
    subprocess.run(command, check=True)

    assert not read_index(late).is_first
    with pytest.raises(AttemptFailed, match="index comes after"):
        check(late, ASKED)


def level(video: Path, *levels: int) -> tuple[float, float]:
    """The seam of a video of grey frames of these levels: its difference, and that beside it."""
    shape = make.request(num_frames=len(levels))
    grey = (np.full((shape.height, shape.width, 3), level, np.uint8) for level in levels)
    seam = loop_seam(encode(grey, shape, video, {}).path, shape)
    return seam.difference, seam.neighbours


def test_the_seam_of_a_loop_is_measured_in_the_finished_video(tmp_path: Path) -> None:
    assert level(tmp_path / "a.mp4", 60, 64, 90, 68, 60) == pytest.approx((0, 6), abs=1)
    assert level(tmp_path / "b.mp4", 60, 64, 90, 96, 100) == pytest.approx((40, 4), abs=1)
    assert level(tmp_path / "c.mp4", 60) == (0, 0)
