"""Generate one segment, blend it with the segment before, and encode it."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from service.domain.attempt import AttemptFailed, FailureKind, Stage
from service.domain.resolve.segments import Segment
from service.workers.adapters.base import Adapter, Conditions, Frame, Frames, OnStep
from service.workers.stages.encode_ahead import BackgroundEncoder
from service.workers.stages.stitch import Seam
from service.workers.stopwatch import Stopwatch


@dataclass(frozen=True)
class SegmentClip:
    """A generated segment: its own frames as an MP4, and its tail as frames for the next one.

    `difference` is that of its seam with the segment before, None for the first. `encoding` is the
    encoder of a new segment, whose MP4 may still be incomplete; None for a loaded one.
    """

    video: Path
    tail: Frames | None
    difference: float | None = None
    encoding: BackgroundEncoder | None = None


@dataclass(frozen=True)
class SegmentRenderer:
    """Renders the segments of one video in order. `provenance` is embedded in each file.

    Up to `ahead_bytes` of frames wait for ffmpeg. Closing `stack` cancels unfinished encoding.
    """

    adapter: Adapter
    conditions: Conditions
    scratch: Path
    provenance: dict[str, Any]
    watch: Stopwatch
    on_step: OnStep
    ahead_bytes: int
    stack: ExitStack

    def render(self, segment: Segment, previous: SegmentClip | None) -> SegmentClip:
        """Generate the frames of `segment` and queue them for encoding. Raises AttemptFailed."""
        seam = None if previous is None or previous.tail is None else Seam(previous.tail)
        frames = self.watch.time_items(
            "generate",
            self.adapter.generate(
                segment.request,
                self._conditions(segment, previous),
                _report_overall(segment, self.on_step),
            ),
        )
        if seam is not None:
            frames = seam.blend_frames(frames)
        with self.watch.time("encode"):
            own = segment.request.model_copy(update={"num_frames": segment.kept_frames})
            target = self.scratch / f"segment-{segment.number}.mp4"
            ahead = self.ahead_bytes // (own.width * own.height * 3)
            encoding = BackgroundEncoder(own, target, self.provenance, ahead=ahead)
            self.stack.enter_context(encoding)
            encoding.write(islice(frames, segment.kept_frames))
            tail = _read_tail(frames, segment)
        difference = None if seam is None else seam.difference
        return SegmentClip(target, tail, difference, encoding)

    def _conditions(self, segment: Segment, previous: SegmentClip | None) -> Conditions:
        conditions = self.conditions
        return Conditions(
            image=conditions.image if segment.first else None,
            last_image=conditions.last_image if segment.last else None,
            keyframes=tuple(own_keyframes(conditions.keyframes, segment)),
            video=conditions.video,
            tail=None if previous is None else previous.tail,
            start=segment.start,
            video_frames=segment.video_frames,
        )


def own_keyframes(
    keyframes: Iterable[tuple[int, Frame]], segment: Segment
) -> Iterator[tuple[int, Frame]]:
    """Yield the keyframes that this segment shows first, with frame indices in the segment."""
    for frame, image in keyframes:
        index = frame - segment.start
        if segment.overlap <= index < segment.request.num_frames:
            yield index, image


def _report_overall(segment: Segment, on_step: OnStep) -> OnStep:
    """Wrap `on_step` to report the steps of a segment as steps of the whole video."""
    if segment.of == 1:
        return on_step

    def report(stage: Stage, step: int, total: int) -> None:
        if stage is not Stage.GENERATE:
            step, total = 1, 1  # decoding counts as the end of the segment
        on_step(Stage.GENERATE, segment.number * total + step, segment.of * total)

    return report


def _read_tail(frames: Iterator[Frame], segment: Segment) -> Frames | None:
    """Read the frames after the segment's own, which the next segment continues; None without."""
    tail = list(frames)
    if len(tail) != segment.handed_on:
        count = segment.kept_frames + len(tail)
        raise AttemptFailed(
            FailureKind.INTERNAL,
            "encode_failed",
            f"the model made {count} frames instead of {segment.request.num_frames}",
        )
    return np.stack(tail) if tail else None
