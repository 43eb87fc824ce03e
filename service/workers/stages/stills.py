"""The still images of a video: a thumbnail, and the last frame, which another job may continue."""

import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from service.domain.attempt import AttemptFailed, FailureKind
from service.workers.adapters.base import Frame, Shape
from service.workers.ffmpeg import ffmpeg_path, raise_if_machine_fault

_THUMBNAIL_SIDE = 512
_SECONDS = 120  # decoding one frame takes far less


def frame_at(video: Path, index: int, request: Shape) -> Frame:
    """Decode the frame with this index from a file of the request's size and rate.

    Raises AttemptFailed: internal when the frame is missing or has another size, machine when
    ffmpeg fails by a fault of the machine.
    """
    command = [
        ffmpeg_path(),
        *"-nostdin -hide_banner -v error -protocol_whitelist file,pipe".split(),
        *["-threads", "1", "-ss"],  # more threads wait for more frames before the first
        # A quarter of a frame early: ffmpeg seeks the first frame from there on.
        f"{(index - 0.25) / request.fps:.6f}" if index else "0",
        *["-i", f"file:{video}"],
        *"-frames:v 1 -f rawvideo -pix_fmt rgb24 pipe:1".split(),
    ]
    process = subprocess.run(  # noqa: S603
        command, env={}, capture_output=True, timeout=_SECONDS, check=False
    )
    if process.returncode or len(process.stdout) != request.width * request.height * 3:
        errors = process.stderr.decode(errors="replace")[-300:].strip()
        if process.returncode:
            raise_if_machine_fault(process.returncode, errors)
        message = f"frame {index} does not decode to {request.width}x{request.height}: {errors}"
        raise AttemptFailed(FailureKind.INTERNAL, "bad_video", message)
    pixels = np.frombuffer(process.stdout, dtype=np.uint8)
    return pixels.reshape(request.height, request.width, 3)


def write_thumbnail(frame: Frame, target: Path) -> None:
    """Write a JPEG of at most 512 pixels a side."""
    image = Image.fromarray(frame)
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    image.save(target, "JPEG", quality=85)


def write_last_frame(frame: Frame, target: Path) -> None:
    """Write a PNG of the whole frame: lossless, since another job may continue from it."""
    Image.fromarray(frame).save(target, "PNG", compress_level=3)
