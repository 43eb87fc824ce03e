"""Verify the finished file independently of the code that wrote it."""

from pathlib import Path

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.request import VideoRequest
from service.workers.stages.mp4_index import Track, read_track
from service.workers.stages.stills import frame_at


def check(video: Path, request: VideoRequest) -> None:
    """Raise AttemptFailed (internal) unless the file opens and matches the request.

    Its first frame must decode to the right size, frame count and duration must be exact, and the
    index must come first, so that players start at once.
    """
    track = _read_index(video)
    if not track.index_first:
        raise _invalid("its index comes after the frames")
    if track.samples != request.num_frames:
        raise _invalid(f"it holds {track.samples} frames instead of {request.num_frames}")
    if track.duration * request.fps != request.num_frames * track.timescale:
        seconds = track.duration / track.timescale
        raise _invalid(f"it lasts {seconds:.3f} s instead of {request.duration_seconds:.3f} s")
    if track.movie_duration * request.fps != request.num_frames * track.movie_timescale:
        seconds = track.movie_duration / track.movie_timescale
        raise _invalid(
            f"its container says {seconds:.6f} s instead of {request.duration_seconds} s"
        )
    frame_at(video, 0, request)


def _read_index(video: Path) -> Track:
    try:
        return read_track(video)
    except ValueError as error:
        raise _invalid(f"it does not open: {error}") from error


def _invalid(reason: str) -> AttemptFailed:
    return AttemptFailed(
        FailureKind.INTERNAL, "bad_video", f"the finished file is invalid: {reason}"
    )
