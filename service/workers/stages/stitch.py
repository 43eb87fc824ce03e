"""Blend the overlap of consecutive segments, and join their files without encoding again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from service.workers.adapters.base import Frame, Frames
from service.workers.ffmpeg import run_ffmpeg
from service.workers.stages.encode import timescales


class Seam:
    """Cross-fades the overlap of two consecutive segments.

    Both generated these frames, the earlier one as its tail. Fading hides a change of colour or
    brightness, which would be visible as a jump.
    """

    def __init__(self, tail: Frames) -> None:
        self._tail = tail
        self._differences: list[float] = []

    def blend_frames(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Yield the frames of the later segment, the first ones blended with the tail."""
        for index, frame in enumerate(frames):
            yield self._blend(index, frame) if index < len(self._tail) else frame

    @property
    def difference(self) -> float:
        """The mean difference of both segments before blending, in levels of 0 to 255."""
        return float(np.mean(self._differences)) if self._differences else 0.0

    def _blend(self, index: int, frame: Frame) -> Frame:
        before = self._tail[index].astype(np.float32)
        after = frame.astype(np.float32)
        self._differences.append(float(np.abs(after - before).mean()))
        weight = (index + 1) / (len(self._tail) + 1)
        blend: Frame = np.rint(before + weight * (after - before)).astype(np.uint8)
        return blend


def join(clips: list[Path], target: Path, fps: int, provenance: dict[str, Any]) -> None:
    """Join MP4s with equal encoding parameters, without encoding again.

    Raises AttemptFailed when ffmpeg fails: machine by a fault of the machine, else internal.
    """
    order = target.with_suffix(".txt")
    order.write_text("".join(f"file '{clip.name}'\n" for clip in clips))
    options = [
        *"-protocol_whitelist file -f concat -i".split(),
        f"file:{order}",
        *f"-map 0:v:0 -c copy -bsf:v {_exact_timestamps(fps)} -movflags +faststart".split(),
        *f"{timescales(fps)} -metadata".split(),
        f"comment={json.dumps(provenance)}",
        f"file:{target}",
    ]
    run_ffmpeg(options, "join the segments", "join_failed")


def _exact_timestamps(fps: int) -> str:
    """Return a filter that sets timestamps to multiples of 1/fps: the concat demuxer counts in
    microseconds, which cannot express e.g. 1/12 s."""
    return (
        f"setts=pts=round(PTS*TB*{fps})/{fps}/TB:dts=round(DTS*TB*{fps})/{fps}/TB"
        f":duration=1/{fps}/TB"
    )
