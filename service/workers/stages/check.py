"""Verify the finished file independently of the code that wrote it."""

from pathlib import Path

import numpy as np

from service.domain.attempt import AttemptFailed, FailureKind, LoopSeam
from service.workers.adapters.base import AUDIO_RATE, Frame, Shape, audio_samples
from service.workers.stages.mp4_index import Index, Track, read_index
from service.workers.stages.stills import frame_at


def check(video: Path, request: Shape, *, has_audio: bool = False) -> None:
    """Raise AttemptFailed (internal) unless the file opens and matches the request.

    Its first frame must decode to the right size; frame count, duration and the length of its sound
    must be exact; and the index must come first, so that players start at once.
    """
    try:
        index = read_index(video)
        track, sound = index.track("vide"), index.track("soun")
    except ValueError as error:
        raise _invalid(f"it does not open: {error}") from error
    if track is None:
        raise _invalid("it has no video")
    if not index.is_first:
        raise _invalid("its index comes after the frames")
    _check_length(track, index, request)
    if (sound is not None) != has_audio:
        raise _invalid("it has no sound" if has_audio else "it has sound")
    if sound is not None:
        _check_sound(sound, request)
    frame_at(video, 0, request)


def loop_seam(video: Path, request: Shape) -> LoopSeam:
    """Measure where a finished video begins again. Raises AttemptFailed as `frame_at` does."""
    last = request.num_frames - 1
    first, second, before_last, end = (
        frame_at(video, index, request) for index in (0, min(1, last), max(0, last - 1), last)
    )
    beside = (_difference(first, second) + _difference(before_last, end)) / 2
    return LoopSeam(difference=round(_difference(end, first), 3), neighbours=round(beside, 3))


def _difference(frame: Frame, other: Frame) -> float:
    """Return the mean difference of two frames, in levels of 0 to 255."""
    return float(np.abs(frame.astype(np.int16) - other.astype(np.int16)).mean())


def _check_length(track: Track, index: Index, request: Shape) -> None:
    if track.samples != request.num_frames:
        raise _invalid(f"it holds {track.samples} frames instead of {request.num_frames}")
    if track.duration * request.fps != request.num_frames * track.timescale:
        seconds = track.duration / track.timescale
        raise _invalid(f"it lasts {seconds:.3f} s instead of {request.duration_seconds:.3f} s")
    if index.duration * request.fps != request.num_frames * index.timescale:
        seconds = index.duration / index.timescale
        raise _invalid(
            f"its container says {seconds:.6f} s instead of {request.duration_seconds} s"
        )


def _check_sound(sound: Track, request: Shape) -> None:
    needed = audio_samples(request.num_frames, request.fps)
    if (sound.timescale, sound.duration) != (AUDIO_RATE, needed):
        seconds = sound.duration / sound.timescale
        raise _invalid(f"its sound lasts {seconds:.6f} s instead of {needed / AUDIO_RATE:.6f} s")


def _invalid(reason: str) -> AttemptFailed:
    return AttemptFailed(
        FailureKind.INTERNAL, "bad_video", f"the finished file is invalid: {reason}"
    )
