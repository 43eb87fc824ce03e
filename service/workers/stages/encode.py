"""Encode frames to MP4 while they are generated, one at a time through a pipe to ffmpeg."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from service.domain.attempt import AttemptFailed, FailureKind
from service.workers.adapters.base import Frame, Shape
from service.workers.ffmpeg import ffmpeg_path, raise_if_machine_fault
from service.workers.machine import machine_failure

Kill = Callable[[], None]  # no effect on a process that has ended

_KEYFRAME_SECONDS = 2  # closed GOPs this short let players and editors seek quickly
_TICKS_PER_FRAME = 512
_PIPE_BYTES = 1 << 20  # the maximum on Linux without privileges


@dataclass(frozen=True)
class EncodedVideo:
    """The MP4, and the two frames that become stills."""

    path: Path
    middle: Frame
    last: Frame


def encode(
    frames: Iterator[Frame],
    request: Shape,
    target: Path,
    provenance: dict[str, Any],
    *,
    on_start: Callable[[Kill], None] = lambda _: None,
) -> EncodedVideo:
    """Write exactly `request.num_frames` frames to `target` as H.264.

    High profile, yuv420p, bt709, constant frame rate, `moov` first. `provenance` is stored as JSON
    in the file's comment. `on_start` receives a function that kills ffmpeg from another thread.
    Exceptions of `frames` propagate and end ffmpeg. Raises AttemptFailed: internal for a wrong
    frame or when ffmpeg fails, machine when that is the fault of the machine.
    """
    middle = last = None
    count = 0
    with _ffmpeg(request, target, provenance) as (pipe, kill):
        on_start(kill)
        for frame in frames:
            if frame.shape != (request.height, request.width, 3):
                raise _encode_failed(f"frame {count} has shape {frame.shape}")
            pipe.write(frame.data)
            if count == request.num_frames // 2:
                middle = frame.copy()
            last = frame
            count += 1
    if count != request.num_frames or middle is None or last is None:
        raise _encode_failed(f"the model made {count} frames instead of {request.num_frames}")
    return EncodedVideo(target, middle, last)


def _encode_failed(message: str) -> AttemptFailed:
    return AttemptFailed(FailureKind.INTERNAL, "encode_failed", message)


class _ffmpeg:  # noqa: N801 - a context manager, used like a function
    """An ffmpeg process that frames are written to. Leaving it waits for the file, or kills it."""

    def __init__(self, request: Shape, target: Path, provenance: dict[str, Any]) -> None:
        self._target = target
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        try:
            self._process = subprocess.Popen(  # noqa: S603 - no shell; numbers and our own paths
                encode_command(request, target, provenance),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env={},  # the environment of this process contains tokens
            )
        except BaseException:
            self._errors.close()
            raise

    def __enter__(self) -> tuple[IO[bytes], Kill]:
        assert self._process.stdin is not None, "opened with a pipe"
        _enlarge(self._process.stdin)
        return self._process.stdin, self._process.kill

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._process.stdin is not None, "opened with a pipe"
        with self._errors:
            if kind is not None and not issubclass(kind, BrokenPipeError):
                self._process.kill()
            with suppress(BrokenPipeError):  # ffmpeg ended first; its errors have the reason
                self._process.stdin.close()
            code = self._process.wait()
            if kind is None or issubclass(kind, BrokenPipeError):
                self._check(code)

    def _check(self, code: int) -> None:
        if code != 0:
            self._errors.seek(0)
            errors = self._errors.read().decode(errors="replace").strip()[-500:]
            raise_if_machine_fault(code, errors)
            raise _encode_failed(f"ffmpeg exited with {code}: {errors}")
        if not self._target.exists():
            raise machine_failure("ffmpeg exits with 0 but writes no file")


def encode_command(request: Shape, target: Path, provenance: dict[str, Any]) -> list[str]:
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
        ffmpeg_path(),
        *["-nostdin", "-hide_banner", "-v", "error", "-y"],
        *source.split(),
        *video.split(),
        "-metadata",
        f"comment={json.dumps(provenance)}",
        *["-protocol_whitelist", "file", f"file:{target}"],
    ]


def timescales(fps: int) -> str:
    """Return options for timescales in fractions of a frame. ffmpeg's default for the container is
    milliseconds, which rarely express a video's duration exactly."""
    ticks = fps * _TICKS_PER_FRAME
    return f"-video_track_timescale {ticks} -movie_timescale {ticks}"


def _enlarge(pipe: IO[bytes]) -> None:
    """Enlarge the pipe's buffer from 64 KiB, a twentieth of a frame, for fewer context switches."""
    try:
        from fcntl import F_SETPIPE_SZ, fcntl  # Linux only
    except ImportError:
        return
    try:
        fcntl(pipe.fileno(), F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        return  # over the user's limit: keep the default
