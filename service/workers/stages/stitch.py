"""Segments become one video: their overlap is blended, and their files are joined as they are."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from service.domain.attempt import AttemptFailed, FailureKind
from service.workers.adapters.base import Film, Frame
from service.workers.machine import blame_for_ffmpeg, ffmpeg
from service.workers.stages.encode import timescales

_SECONDS = 600  # nothing is decoded: an hour of video takes seconds


class Seam:
    """Where one segment goes over into the next.

    Both have made the same moments, the earlier as its end and the later as its beginning. Across
    them the weight moves from the one to the other, so that a drift of colour or light is spread
    over the overlap and not seen as a jump.
    """

    def __init__(self, tail: Film) -> None:
        self._tail = tail
        self._differences: list[float] = []

    def blended(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames of the later segment, its first ones blended with the tail before it."""
        for index, frame in enumerate(frames):
            yield self._blend(index, frame) if index < len(self._tail) else frame

    @property
    def difference(self) -> float:
        """How far the two were apart, before: the mean over all pixels, in levels of 0 to 255."""
        return float(np.mean(self._differences)) if self._differences else 0.0

    def _blend(self, index: int, frame: Frame) -> Frame:
        before = self._tail[index].astype(np.float32)
        after = frame.astype(np.float32)
        self._differences.append(float(np.abs(after - before).mean()))
        weight = (index + 1) / (len(self._tail) + 1)
        mixed: Frame = np.rint(before + weight * (after - before)).astype(np.uint8)
        return mixed


def join(parts: list[Path], target: Path, fps: int, provenance: dict[str, Any]) -> None:
    """One MP4 of several with the same coding, in their order; nothing is encoded again.

    Raises AttemptFailed where ffmpeg fails: machine by the machine's fault, else internal.
    """
    order = target.with_suffix(".txt")
    order.write_text("".join(f"file '{part.name}'\n" for part in parts))
    command = [
        ffmpeg(),
        *"-nostdin -hide_banner -v error -y -protocol_whitelist file -f concat -i".split(),
        f"file:{order}",
        *f"-map 0:v:0 -c copy -bsf:v {_on_the_beat(fps)} -movflags +faststart".split(),
        *f"{timescales(fps)} -metadata".split(),
        f"comment={json.dumps(provenance)}",
        f"file:{target}",
    ]
    done = subprocess.run(  # noqa: S603
        command, env={}, capture_output=True, timeout=_SECONDS, check=False
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-500:]
        blame_for_ffmpeg(done.returncode, said)
        what = f"ffmpeg could not join: {said}"
        raise AttemptFailed(FailureKind.INTERNAL, "join_failed", what, of_model=False)


def _on_the_beat(fps: int) -> str:
    """Each frame at its own multiple of 1/fps: where one file follows another, ffmpeg counts in
    microseconds, which are no part of a twelfth of a second."""
    return (
        f"setts=pts=round(PTS*TB*{fps})/{fps}/TB:dts=round(DTS*TB*{fps})/{fps}/TB"
        f":duration=1/{fps}/TB"
    )
