"""Look at the finished file with other eyes than those that wrote it, before anybody is told."""

import subprocess
from pathlib import Path

import imageio_ffmpeg

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.request import VideoRequest
from service.workers.stages.boxes import Track, read_track

_SECONDS = 120  # decoding one frame takes far less


def check(video: Path, request: VideoRequest) -> None:
    """Raise AttemptFailed (internal) unless the file opens and is what was asked for.

    Its first frame must decode to the right size, the container must hold exactly the frames
    over exactly the time, and its index must come first, so that players start at once.
    """
    track = _index(video)
    if not track.index_first:
        raise _wrong("its index comes after the pictures")
    if track.samples != request.num_frames:
        raise _wrong(f"it holds {track.samples} frames instead of {request.num_frames}")
    if track.duration * request.fps != request.num_frames * track.timescale:
        seconds = track.duration / track.timescale
        raise _wrong(f"it lasts {seconds:.3f} s instead of {request.duration_seconds:.3f} s")
    if len(_first_picture(video)) != request.width * request.height * 3:
        raise _wrong(f"its first frame is not {request.width}x{request.height}")


def _index(video: Path) -> Track:
    try:
        return read_track(video)
    except ValueError as error:
        raise _wrong(f"it does not open: {error}") from error


def _first_picture(video: Path) -> bytes:
    """The first frame as raw RGB."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        *"-nostdin -hide_banner -v error -protocol_whitelist file,pipe".split(),
        *["-threads", "1", "-i"],  # several wait for more frames before they give the first
        f"file:{video}",
        *"-frames:v 1 -f rawvideo -pix_fmt rgb24 pipe:1".split(),
    ]
    done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603
    if done.returncode != 0:
        raise _wrong(f"it does not decode: {done.stderr.decode(errors='replace')[-300:].strip()}")
    return done.stdout


def _wrong(what: str) -> AttemptFailed:
    return AttemptFailed(FailureKind.INTERNAL, "bad_video", f"the finished file is wrong: {what}")
