"""One segment, from the model to a file: generated, blended with the one before, encoded."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from service.domain.attempt import AttemptFailed, FailureKind, Stage
from service.domain.resolve.segments import Segment
from service.workers.adapters.base import Adapter, Conditions, Film, Frame, OnStep
from service.workers.stages.encode_ahead import Encoding
from service.workers.stages.stitch import Seam
from service.workers.stopwatch import Stopwatch


@dataclass(frozen=True)
class Part:
    """A finished segment: its own frames as an MP4, and those that it hands on as they are.

    `difference` is what its seam with the one before measured, None for the first. Of one that was
    made just now, `encoding` says when the MP4 is whole.
    """

    video: Path
    tail: Film | None
    difference: float | None = None
    encoding: Encoding | None = None


@dataclass(frozen=True)
class SegmentRenderer:
    """Makes the segments of one video, one after the other. `provenance` goes into each file.

    Frames wait for ffmpeg in up to `ahead_bytes` of memory. What is still encoded when `until` is
    closed is thrown away.
    """

    adapter: Adapter
    conditions: Conditions
    scratch: Path
    provenance: dict[str, Any]
    watch: Stopwatch
    on_step: OnStep
    ahead_bytes: int
    until: ExitStack

    def make(self, segment: Segment, before: Part | None) -> Part:
        """Returns once the model has made its frames. Raises AttemptFailed as the adapter does, or
        for frames that are not as asked."""
        seam = None if before is None or before.tail is None else Seam(before.tail)
        made = self.adapter.generate(
            segment.request, self._conditions(segment, before), _within(segment, self.on_step)
        )
        frames = self.watch.timed("generate", made)
        if seam is not None:
            frames = seam.blended(frames)
        with self.watch.time("encode"):
            own = segment.request.model_copy(update={"num_frames": segment.kept_frames})
            target = self.scratch / f"segment-{segment.number}.mp4"
            ahead = self.ahead_bytes // (own.width * own.height * 3)
            encoding = Encoding(own, target, self.provenance, ahead=ahead)
            self.until.enter_context(encoding)
            encoding.take(islice(frames, segment.kept_frames))
            tail = _rest(frames, segment)
        difference = None if seam is None else seam.difference
        return Part(target, tail, difference, encoding)

    def _conditions(self, segment: Segment, before: Part | None) -> Conditions:
        given = self.conditions
        return Conditions(
            image=given.image if segment.first else None,
            last_image=given.last_image if segment.last else None,
            keyframes=tuple(own_keyframes(given.keyframes, segment)),
            video=given.video,
            tail=None if before is None else before.tail,
            start=segment.start,
            video_frames=segment.video_frames,
        )


def own_keyframes(
    keyframes: Iterable[tuple[int, Frame]], segment: Segment
) -> Iterator[tuple[int, Frame]]:
    """Those that this segment is the first to show, by its own count."""
    for frame, picture in keyframes:
        own = frame - segment.start
        if segment.overlap <= own < segment.request.num_frames:
            yield own, picture


def _within(segment: Segment, on_step: OnStep) -> OnStep:
    """Steps of one segment as steps of all."""
    if segment.of == 1:
        return on_step

    def told(stage: Stage, done: int, of: int) -> None:
        if stage is not Stage.GENERATE:
            done, of = 1, 1  # what follows the steps of a segment is followed by the next
        on_step(Stage.GENERATE, segment.number * of + done, segment.of * of)

    return told


def _rest(frames: Iterator[Frame], segment: Segment) -> Film | None:
    """What is left once the segment's own frames are taken: it is handed on."""
    left = list(frames)
    if len(left) != segment.handed_on:
        made = segment.kept_frames + len(left)
        raise AttemptFailed(
            FailureKind.INTERNAL,
            "encode_failed",
            f"the model made {made} frames instead of {segment.request.num_frames}",
        )
    return np.stack(left) if left else None
