"""Generate one segment, blend it with the segment before, and encode it."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from service.domain.attempt import AttemptFailed, FailureKind, Stage
from service.domain.resolve.segments import Segment
from service.workers.adapters.base import (
    Adapter,
    Anchor,
    Audio,
    Conditions,
    Frame,
    Frames,
    OnStep,
    audio_samples,
)
from service.workers.stages.encode_ahead import BackgroundEncoder
from service.workers.stages.stitch import Seam
from service.workers.stopwatch import Stopwatch


@dataclass(frozen=True)
class SegmentClip:
    """A generated segment: its own frames as a silent MP4 with its sound beside it, and its tail as
    frames, and the model's anchor, for the next one.

    `difference` is that of its seam with the segment before, None for the first. `encoding` is the
    encoder of a new segment, whose MP4 may still be incomplete; None for a loaded one.
    """

    video: Path
    tail: Frames | None
    difference: float | None = None
    encoding: BackgroundEncoder | None = None
    audio: Audio | None = None
    anchor: Anchor | None = None

    def without_continuation(self) -> "SegmentClip":
        """Return a copy without what only the next segment needs: tens of megabytes."""
        return replace(self, tail=None, anchor=None, encoding=None)


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
        clip = self.adapter.generate(
            segment.request,
            self._conditions(segment, previous),
            self._timed(_report_overall(segment, self.on_step)),
        )
        frames = self.watch.time_items("generate", clip.frames)
        if seam is not None:
            frames = seam.blend_frames(frames)
        with self.watch.time("encode"):
            own = replace(segment.request.shape, num_frames=segment.kept_frames)
            target = self.scratch / f"segment-{segment.number}.mp4"
            ahead = self.ahead_bytes // (own.width * own.height * 3)
            encoding = BackgroundEncoder(own, target, self.provenance, ahead=ahead)
            self.stack.enter_context(encoding)
            encoding.write(self._captioned(islice(frames, segment.kept_frames), segment))
            tail = _read_tail(frames, segment)
        difference = None if seam is None else seam.difference
        audio = None if clip.audio is None else _own_sound(clip.audio, segment)
        anchor = None if clip.anchor is None else clip.anchor()
        return SegmentClip(target, tail, difference, encoding, audio, anchor)

    def _timed(self, on_step: OnStep) -> OnStep:
        """Wrap `on_step` to time the decoding."""

        def report(stage: Stage, step: int, total: int) -> None:
            self.watch.note_step(stage)
            on_step(stage, step, total)

        return report

    def _captioned(self, frames: Iterator[Frame], segment: Segment) -> Iterator[Frame]:
        captions, fps = self.conditions.captions, segment.request.fps
        if captions is None:
            return frames
        return (
            captions.draw_on(frame, (segment.start + number) / fps)
            for number, frame in enumerate(frames)
        )

    def _conditions(self, segment: Segment, previous: SegmentClip | None) -> Conditions:
        conditions = self.conditions
        return Conditions(
            image=conditions.image if segment.first else None,
            last_image=conditions.last_image if segment.last else None,
            keyframes=tuple(own_keyframes(conditions.keyframes, segment)),
            video=conditions.video,
            audio=conditions.audio,
            tail=None if previous is None else previous.tail,
            anchor=None if previous is None else previous.anchor,
            portrait=conditions.portrait,
            speech=conditions.speech,
            start=segment.start,
            video_frames=segment.video_frames,
        )


def _own_sound(audio: Audio, segment: Segment) -> Audio:
    """Cut off the sound of frames that the next segment continues. Raises AttemptFailed where the
    sound is too short. Rounded for the video as a whole, so that its segments add up."""
    fps = segment.request.fps
    start, end = (
        audio_samples(frames, fps)
        for frames in (segment.start, segment.start + segment.kept_frames)
    )
    samples = end - start
    if len(audio.samples) < samples:
        message = f"the model made {len(audio.samples)} samples of sound instead of {samples}"
        raise AttemptFailed(FailureKind.INTERNAL, "encode_failed", message)
    return Audio(audio.samples[:samples])


def own_keyframes(
    keyframes: Iterable[tuple[int, Frame]], segment: Segment
) -> Iterator[tuple[int, Frame]]:
    """Yield the keyframes that this segment shows first, with frame indices in the segment."""
    for frame, image in keyframes:
        index = frame - segment.start
        if segment.overlap <= index < segment.request.shape.num_frames:
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
    if len(tail) != segment.next_overlap:
        count = segment.kept_frames + len(tail)
        raise AttemptFailed(
            FailureKind.INTERNAL,
            "encode_failed",
            f"the model made {count} frames instead of {segment.request.num_frames}",
        )
    return np.stack(tail) if tail else None
