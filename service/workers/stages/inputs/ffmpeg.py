"""ffmpeg as a reader of files from strangers: what it may open, need and take is bounded."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Event, Timer
from typing import IO

from service.workers.machine import blame_for_ffmpeg, ffmpeg

# Addresses, not pages: half of it is what the largest frames that are taken need.
_MAX_MEMORY_BYTES = 3 << 29
# Demuxers that read one file and nothing beside it: no playlists, scripts or numbered images.
_FORMATS = "mov,matroska,webm,mp3,wav,flac,ogg"
# The rare ones of ffmpeg's 500 decoders are the ones in which holes are found.
VIDEO_CODECS = "h264 hevc av1 vp8 vp9 mpeg4 prores mjpeg".split()
AUDIO_CODECS = (
    "aac alac flac mp3 opus vorbis pcm_alaw pcm_mulaw pcm_u8 "
    "pcm_s16le pcm_s24le pcm_s32le pcm_f32le pcm_f64le pcm_s16be pcm_s24be pcm_s32be"
).split()
# ffmpeg's own decoders of these two pass over transparency.
_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_CODECS = ",".join([*VIDEO_CODECS, "libdav1d", *_DECODERS.values(), *AUDIO_CODECS, "mp3float"])


class UnreadableMedia(Exception):
    """ffmpeg could not read the file."""


class Late(UnreadableMedia):
    """ffmpeg was not done in time."""


def command(output: str, codec: str, verbose: bool) -> list[str]:
    """The file is opened here and handed over as standard input: ffmpeg learns no name of ours,
    and may open nothing by any name that it finds inside."""
    decoder = f"-c:v {_DECODERS[codec]}" if codec in _DECODERS else ""
    return [
        ffmpeg(),
        *f"-nostdin -hide_banner -v {'info' if verbose else 'quiet'}".split(),
        *"-filter_threads 1 -threads 1".split(),
        *f"-format_whitelist {_FORMATS} -codec_whitelist {_CODECS} {decoder}".split(),
        *"-protocol_whitelist fd -i fd:".split(),
        *output.split(),
        *"-protocol_whitelist pipe pipe:1".split(),
    ]


@contextmanager
def reading(
    path: Path,
    output: str,
    timeout: timedelta,
    *,
    codec: str = "",
    verbose: bool = False,
    max_memory_bytes: int = _MAX_MEMORY_BYTES,
) -> Iterator[IO[bytes]]:
    """Yield what ffmpeg makes of `path` with the options `output`, meanwhile; `verbose`: among
    what it says of it. `codec` is that of the video, where it is to be decoded.

    Must be read to its end or left by raising: then ffmpeg is ended. Raises Unread when ffmpeg
    fails, Late when it is still at work after `timeout`, and AttemptFailed (machine) when it fails
    by the machine's fault.
    """
    late = Event()
    with path.open("rb") as file, _started(file, command(output, codec, verbose)) as process:
        assert process.stdout is not None, "opened with a pipe"
        _bound_memory(process.pid, max_memory_bytes)

        def stop() -> None:
            late.set()
            process.kill()

        clock = Timer(timeout.total_seconds(), stop)
        clock.start()
        try:
            yield process.stdout
            code = process.wait()
        finally:
            clock.cancel()
            process.kill()
    if late.is_set():
        raise Late
    if code != 0:
        blame_for_ffmpeg(code)
        raise UnreadableMedia


def _started(file: IO[bytes], command: list[str]) -> subprocess.Popen[bytes]:
    verbose = "info" in command
    return subprocess.Popen(  # noqa: S603 - no shell; nothing in it comes from outside
        command,
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if verbose else subprocess.DEVNULL,
        env={},  # whoever takes it over by a file finds no token in it
    )


def _bound_memory(pid: int, max_bytes: int) -> None:
    """An index of a few bytes can claim billions of entries. Elsewhere than on Linux only the
    timeout ends that."""
    with suppress(ImportError, OSError):
        from resource import RLIMIT_AS, prlimit

        prlimit(pid, RLIMIT_AS, (max_bytes, max_bytes))
