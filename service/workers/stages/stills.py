"""The pictures that go with a video: a small one to show, the last frame to go on from."""

import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.request import VideoRequest
from service.workers.adapters.base import Frame
from service.workers.machine import blame_for_ffmpeg, ffmpeg

_THUMBNAIL_SIDE = 512
_SECONDS = 120  # decoding one frame takes far less


def frame_at(video: Path, index: int, request: VideoRequest) -> Frame:
    """The frame with this index, decoded from a file of the request's size and rate.

    Raises AttemptFailed: internal where there is none, or one of another size; machine where
    ffmpeg fails by the machine's fault.
    """
    command = [
        ffmpeg(),
        *"-nostdin -hide_banner -v error -protocol_whitelist file,pipe".split(),
        *["-threads", "1", "-ss"],  # several wait for more frames before they give the first
        # A quarter of a frame early: what is sought is the first frame from there on.
        f"{(index - 0.25) / request.fps:.6f}" if index else "0",
        *["-i", f"file:{video}"],
        *"-frames:v 1 -f rawvideo -pix_fmt rgb24 pipe:1".split(),
    ]
    done = subprocess.run(  # noqa: S603
        command, env={}, capture_output=True, timeout=_SECONDS, check=False
    )
    if done.returncode or len(done.stdout) != request.width * request.height * 3:
        said = done.stderr.decode(errors="replace")[-300:].strip()
        if done.returncode:
            blame_for_ffmpeg(done.returncode, said)
        what = f"frame {index} does not decode to {request.width}x{request.height}: {said}"
        raise AttemptFailed(FailureKind.INTERNAL, "bad_video", what)
    pixels = np.frombuffer(done.stdout, dtype=np.uint8)
    return pixels.reshape(request.height, request.width, 3)


def write_thumbnail(frame: Frame, target: Path) -> None:
    """A JPEG of at most 512 pixels a side."""
    picture = Image.fromarray(frame)
    picture.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    picture.save(target, "JPEG", quality=85)


def write_last_frame(frame: Frame, target: Path) -> None:
    """A PNG of the whole frame: lossless, since the next clip may start from it."""
    Image.fromarray(frame).save(target, "PNG", compress_level=3)
