"""Frames become an MP4 while they are made: one at a time, through a pipe to ffmpeg."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.request import VideoRequest
from service.workers.adapters.base import Frame
from service.workers.machine import blame_for_ffmpeg, failed, ffmpeg

Kill = Callable[[], None]  # does nothing to a process that has ended

_KEYFRAME_SECONDS = 2  # closed groups this short let players and renders seek quickly
_TICKS_PER_FRAME = 512
_PIPE_BYTES = 1 << 20  # the most that Linux grants anybody


@dataclass(frozen=True)
class Encoded:
    """The MP4, and the two frames that become stills."""

    path: Path
    middle: Frame
    last: Frame


def encode(
    frames: Iterator[Frame],
    request: VideoRequest,
    target: Path,
    provenance: dict[str, Any],
    *,
    started: Callable[[Kill], None] = lambda _: None,
) -> Encoded:
    """Write exactly `request.num_frames` frames to `target` as H.264.

    High profile, yuv420p, bt709, constant frame rate, `moov` first. `provenance` goes into the
    file's comment as JSON. Whatever `frames` raises passes through, and ffmpeg ends with it.
    `started` is told what ends ffmpeg from another thread.
    Raises AttemptFailed: internal for a frame that is not as asked or an ffmpeg that fails,
    machine where that is the fault of the machine.
    """
    middle = last = None
    written = 0
    with _ffmpeg(request, target, provenance) as (pipe, kill):
        started(kill)
        for frame in frames:
            if frame.shape != (request.height, request.width, 3):
                raise _broken(f"frame {written} has shape {frame.shape}")
            pipe.write(frame.data)
            if written == request.num_frames // 2:
                middle = frame.copy()
            last = frame
            written += 1
    if written != request.num_frames or middle is None or last is None:
        raise _broken(f"the model made {written} frames instead of {request.num_frames}")
    return Encoded(target, middle, last)


def _broken(what: str) -> AttemptFailed:
    return AttemptFailed(FailureKind.INTERNAL, "encode_failed", what)


class _ffmpeg:  # noqa: N801 - a context manager, used like a function
    """ffmpeg as a place to write frames to. Leaving it waits for the file, or ends the process."""

    def __init__(self, request: VideoRequest, target: Path, provenance: dict[str, Any]) -> None:
        self._target = target
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        try:
            self._process = subprocess.Popen(  # noqa: S603 - no shell; numbers and our own paths
                _command(request, target, provenance),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env={},  # it needs none, and ours holds tokens
            )
        except BaseException:
            self._errors.close()
            raise

    def __enter__(self) -> tuple[IO[bytes], Kill]:
        assert self._process.stdin is not None, "opened with a pipe"
        _widen(self._process.stdin)
        return self._process.stdin, self._process.kill

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._process.stdin is not None, "opened with a pipe"
        with self._errors:
            if kind is not None and not issubclass(kind, BrokenPipeError):
                self._process.kill()
            with suppress(BrokenPipeError):  # ffmpeg ended first; why is in its errors
                self._process.stdin.close()
            code = self._process.wait()
            if kind is None or issubclass(kind, BrokenPipeError):
                self._check(code)

    def _check(self, code: int) -> None:
        if code != 0:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip()[-500:]
            blame_for_ffmpeg(code, said)
            raise _broken(f"ffmpeg ended with {code}: {said}")
        if not self._target.exists():
            raise failed("ffmpeg ends well and writes no file")


def _command(request: VideoRequest, target: Path, provenance: dict[str, Any]) -> list[str]:
    size = f"{request.width}x{request.height}"
    source = (
        f"-f rawvideo -pix_fmt rgb24 -video_size {size} -framerate {request.fps} "
        "-protocol_whitelist pipe -i pipe:0"
    )
    group = _KEYFRAME_SECONDS * request.fps
    video = (
        "-an -vf scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,"
        "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv "
        "-c:v libx264 -profile:v high -preset veryfast -crf 18 "
        f"-g {group} -flags +cgop -fps_mode cfr -movflags +faststart {timescales(request.fps)}"
    )
    return [
        ffmpeg(),
        *["-nostdin", "-hide_banner", "-v", "error", "-y"],
        *source.split(),
        *video.split(),
        "-metadata",
        f"comment={json.dumps(provenance)}",
        *["-protocol_whitelist", "file", f"file:{target}"],
    ]


def timescales(fps: int) -> str:
    """Options that make track and container count time in parts of a frame: ffmpeg's own choice for
    the container is milliseconds, which seldom hold a video's length."""
    ticks = fps * _TICKS_PER_FRAME
    return f"-video_track_timescale {ticks} -movie_timescale {ticks}"


def _widen(pipe: IO[bytes]) -> None:
    """A pipe holds 64 KiB, a twentieth of a frame; more of it means fewer switches to and fro."""
    try:
        from fcntl import F_SETPIPE_SZ, fcntl  # Linux only
    except ImportError:
        return
    try:
        fcntl(pipe.fileno(), F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        return  # over the user's limit: it works as it is
