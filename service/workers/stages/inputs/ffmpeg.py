"""Read untrusted files with ffmpeg, with limits on formats, codecs, memory and time."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Event, Timer
from typing import IO

from service.workers.ffmpeg import ffmpeg_path, raise_if_machine_fault

# Address space, not resident memory: the largest allowed frames need half of it.
_MAX_MEMORY_BYTES = 3 << 29
# Demuxers that read a single file: no playlists, scripts or numbered images.
_FORMATS = "mov,matroska,webm,mp3,wav,flac,ogg,aac,aiff,caf,amr,asf"
# Only common codecs: vulnerabilities are found in the rare ones of ffmpeg's 500 decoders.
VIDEO_CODECS = "h264 hevc av1 vp8 vp9 mpeg4 prores mjpeg".split()
AUDIO_CODECS = (
    "aac ac3 eac3 alac amr_nb amr_wb flac mp3 opus vorbis wmav1 wmav2 adpcm_ima_wav adpcm_ms "
    "pcm_alaw pcm_mulaw pcm_u8 pcm_s8 pcm_s16le pcm_s24le pcm_s32le pcm_f32le pcm_f64le "
    "pcm_s16be pcm_s24be pcm_s32be pcm_f32be"
).split()
# ffmpeg's own decoders of these two ignore transparency.
_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Decoders that have other names than their codecs.
_OTHERS = "libdav1d mp3float amrnb amrwb".split()
_CODECS = ",".join([*VIDEO_CODECS, *_DECODERS.values(), *AUDIO_CODECS, *_OTHERS])


class UnreadableMedia(Exception):
    """ffmpeg could not read the file."""


class MediaTimeout(UnreadableMedia):
    """ffmpeg did not finish in time."""


def command(output: str, codec: str, verbose: bool) -> list[str]:
    """Build the command. The file is passed as standard input, so that ffmpeg opens no file by
    name, whatever names it finds inside."""
    decoder = f"-c:v {_DECODERS[codec]}" if codec in _DECODERS else ""
    return [
        ffmpeg_path(),
        *f"-nostdin -hide_banner -v {'info' if verbose else 'quiet'}".split(),
        *"-filter_threads 1 -threads 1".split(),
        *f"-format_whitelist {_FORMATS} -codec_whitelist {_CODECS} {decoder}".split(),
        *"-protocol_whitelist fd -i fd:".split(),
        *output.split(),
        *"-protocol_whitelist pipe pipe:1".split(),
    ]


@contextmanager
def ffmpeg_output(
    path: Path,
    output: str,
    timeout: timedelta,
    *,
    codec: str = "",
    verbose: bool = False,
    max_memory_bytes: int = _MAX_MEMORY_BYTES,
) -> Iterator[IO[bytes]]:
    """Stream what ffmpeg writes for `path` with the options `output`; if `verbose`, its log too.

    `codec` is that of the video, if it is decoded. Read the stream to its end, or raise, which
    kills ffmpeg. Raises UnreadableMedia when ffmpeg fails, MediaTimeout when it runs longer than
    `timeout`, and AttemptFailed (machine) when it fails by a fault of the machine.
    """
    timed_out = Event()
    with path.open("rb") as file, _start(file, command(output, codec, verbose)) as process:
        assert process.stdout is not None, "opened with a pipe"
        _limit_memory(process.pid, max_memory_bytes)

        def stop() -> None:
            timed_out.set()
            process.kill()

        timer = Timer(timeout.total_seconds(), stop)
        timer.start()
        try:
            yield process.stdout
            code = process.wait()
        finally:
            timer.cancel()
            process.kill()
    if timed_out.is_set():
        raise MediaTimeout
    if code != 0:
        raise_if_machine_fault(code)
        raise UnreadableMedia


def _start(file: IO[bytes], command: list[str]) -> subprocess.Popen[bytes]:
    verbose = "info" in command
    return subprocess.Popen(  # noqa: S603 - no shell, no input from outside
        command,
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if verbose else subprocess.DEVNULL,
        env={},  # no tokens for an exploit to read
    )


def _limit_memory(pid: int, max_bytes: int) -> None:
    """Limit the address space: a small index can claim billions of entries. Linux only; elsewhere
    only the timeout applies."""
    with suppress(ImportError, OSError):
        from resource import RLIMIT_AS, prlimit

        prlimit(pid, RLIMIT_AS, (max_bytes, max_bytes))
