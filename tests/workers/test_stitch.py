import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from service.domain.attempt import AttemptFailed
from service.workers.adapters.base import Frame
from service.workers.stages.encode import encode
from service.workers.stages.mp4_index import read_index
from service.workers.stages.stills import frame_at
from service.workers.stages.stitch import Seam, join
from tests import make


def grey(level: int) -> Frame:
    return np.full((64, 96, 3), level, dtype=np.uint8)


def test_across_a_seam_the_weight_moves_from_one_to_the_other() -> None:
    seam = Seam(np.stack([grey(100)] * 3))

    frames = list(seam.blend_frames(iter([grey(140)] * 5)))

    assert [int(frame[0, 0, 0]) for frame in frames] == [110, 120, 130, 140, 140]
    assert seam.difference == 40.0


def test_segments_that_agree_are_left_as_they_are() -> None:
    film = np.random.default_rng(0).integers(0, 256, (4, 64, 96, 3), dtype=np.uint8)
    seam = Seam(film[:2])

    frames = np.stack(list(seam.blend_frames(iter(film))))

    assert np.array_equal(frames, film)
    assert seam.difference == 0.0


def film(folder: Path, name: str, levels: list[int]) -> Path:
    request = make.request(width=96, height=64, fps=12, num_frames=len(levels))
    return encode(iter(map(grey, levels)), request, folder / name, {"part": name}).path


def test_joined_files_hold_every_frame_once_and_in_order(tmp_path: Path) -> None:
    levels = [[10 * n for n in range(1, 8)], [10 * n for n in range(8, 13)], [200, 210, 220]]
    parts = [film(tmp_path, f"{number}.mp4", part) for number, part in enumerate(levels)]
    target = tmp_path / "all.mp4"

    join(parts, target, 12, {"note": 'it\'s "whole"\nand $(safe)'})

    index = read_index(target)
    (track,) = index.tracks
    assert (track.samples, index.is_first) == (15, True)
    assert track.duration * 12 == 15 * track.timescale
    assert index.duration * 12 == 15 * index.timescale
    request = make.request(width=96, height=64, fps=12, num_frames=15)
    shown = [int(frame_at(target, n, request)[32, 48, 1]) for n in range(15)]
    assert np.allclose(shown, [level for part in levels for level in part], atol=4)
    told = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(target)], capture_output=True, text=True
    ).stderr
    assert "$(safe)" in told


def test_what_cannot_be_joined_says_so(tmp_path: Path) -> None:
    broken = tmp_path / "0.mp4"
    broken.write_bytes(b"no film")

    with pytest.raises(AttemptFailed, match="could not join"):
        join([broken, broken], tmp_path / "all.mp4", 12, {})


def test_a_frame_that_is_not_there_says_so(tmp_path: Path) -> None:
    request = make.request(width=96, height=64, fps=12, num_frames=3)

    with pytest.raises(AttemptFailed, match="frame 9"):
        frame_at(film(tmp_path, "0.mp4", [1, 2, 3]), 9, request)
