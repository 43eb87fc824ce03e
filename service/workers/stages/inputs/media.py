"""Sound and video from a stranger: what is in the file, its samples and its pixels."""

import re
import wave
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.request import VideoRequest
from service.workers.stages.inputs.ffmpeg import Late, Unread, reading
from service.workers.stages.inputs.tracks import Overlong, Track, read_tracks

Kind = Literal["audio", "video"]

# Matroska, FLAC, Ogg, MP3 with or without tags, WAV, MP4 and QuickTime.
_STARTS = re.compile(
    rb"\x1aE\xdf\xa3|fLaC|OggS|ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]|RIFF....WAVE"
    rb"|....(?:ftyp|moov|mdat|wide|free|skip)",
    re.DOTALL,
)
_PACKETS = "-map 0:V:0? -map 0:a:0? -c copy -f framecrc"
_PADDING_SECONDS = 0.1  # an encoder fills up its last packet
_SAMPLE_BYTES = 2
_LONGEST_FILM_SECONDS = 600.0
_FILM_TIMEOUT = timedelta(seconds=120)
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class MediaFacts:
    """What the packets of a file add up to; its headers are not believed."""

    kind: Kind  # "video" when there is any, with or without sound
    duration_seconds: float  # to about a packet: 0.1 s
    has_audio: bool
    has_video: bool
    width: int | None  # pixels as stored: a telephone's film may ask to be turned
    height: int | None
    fps: float | None  # the average


def probe_media(
    path: Path, *, kinds: Set[Kind], most_bytes: int, most_seconds: float, timeout: timedelta
) -> MediaFacts:
    """Facts about the first video and the first sound track of `path`; nothing is decoded for them.

    MP4, QuickTime, WebM, Matroska, WAV, MP3, FLAC and Ogg are taken, by their first bytes. Times
    are those of the packets: of sound only `decode_audio` can tell how much there really is, and of
    pictures there are at most 240 for each of `most_seconds`. Raises AttemptFailed (user):
    `media_too_large`, `media_format`, `media_too_long`, `media_kind` (none of `kinds`),
    `media_unreadable`, or `media_timeout` when reading takes longer than `timeout`.
    """
    _check_file(path, most_bytes)
    with _refusing(most_seconds), reading(path, _PACKETS, timeout) as lines:
        tracks = read_tracks(lines, most_seconds + _PADDING_SECONDS)
    video, audio = tracks.get("video"), tracks.get("audio")
    if video is None and audio is None:
        raise _refused("unreadable", "holds neither sound nor pictures")
    kind: Kind = "video" if video else "audio"
    if kind not in kinds:
        raise _refused("kind", f"is {kind}; give {' or '.join(sorted(kinds))}")
    return _facts(kind, video, audio)


def decode_audio(
    path: Path,
    into: Path,
    *,
    rate: Literal[16_000, 48_000] = 16_000,
    most_bytes: int,
    most_seconds: float,
    timeout: timedelta,
) -> float:
    """Write the first sound track to `into` as a mono 16-bit WAV of `rate` Hz; its length in s.

    The samples are counted as they come: whatever a file says of itself, `into` never holds more
    than `most_seconds` and a tenth. Sound that breaks off is taken as far as it goes. Raises
    AttemptFailed as `probe_media` does, and then leaves no file.
    """
    _check_file(path, most_bytes)
    try:
        with _refusing(most_seconds), wave.open(str(into), "wb") as target:
            target.setparams((1, _SAMPLE_BYTES, rate, 0, "NONE", ""))
            for block in _samples(path, rate, most_seconds + _PADDING_SECONDS, timeout):
                target.writeframesraw(block)
            if not target.tell():
                raise Unread
            return target.tell() / rate
    except BaseException:
        into.unlink(missing_ok=True)
        raise


def decode_film(
    path: Path,
    request: VideoRequest,
    *,
    most_bytes: int,
    most_seconds: float = _LONGEST_FILM_SECONDS,
    timeout: timedelta = _FILM_TIMEOUT,
) -> NDArray[np.uint8]:
    """The first video track from its start, at exactly the request's size, frame rate and number of
    frames: upright, in square pixels, cropped around the middle or padded with black as the request
    has it. Of no more than `most_seconds`, of which what is not needed is not decoded.

    Raises AttemptFailed as `probe_media` does, and `media_too_short` for a film that ends more than
    a tenth of a second before the request's own end; what is lacking of less, the last frame fills.
    """
    bounds: Any = {"most_bytes": most_bytes, "most_seconds": most_seconds, "timeout": timeout}
    probe_media(path, kinds={"video"}, **bounds)
    film = np.empty((request.num_frames, request.height, request.width, 3), np.uint8)
    count = 0
    with _refusing(most_seconds), reading(path, _pixels(request), timeout) as pixels:
        while count < len(film) and (frame := pixels.read(film[count].nbytes)):
            film[count].reshape(-1)[: len(frame)] = np.frombuffer(frame, np.uint8)
            count += 1
        if not count:
            raise Unread
    if len(film) - count > request.fps * _PADDING_SECONDS + 1:
        raise _refused(
            "too_short",
            f"has {count / request.fps:.2f} s and {request.duration_seconds:.2f} s are wanted; ask "
            "for a shorter video",
        )
    film[count:] = film[count - 1]
    return film


def _pixels(request: VideoRequest) -> str:
    """ffmpeg's options; it turns a film upright by itself."""
    size = f"{request.width}:{request.height}"
    if request.fit == "pad":
        shape = f"scale={size}:force_original_aspect_ratio=decrease,pad={size}:-1:-1"
    else:
        shape = f"scale={size}:force_original_aspect_ratio=increase,crop={size}"
    return (
        f"-map 0:V:0 -vf fps={request.fps},scale=iw*sar:ih,setsar=1,{shape} -fps_mode passthrough "
        f"-frames:v {request.num_frames} -f rawvideo -pix_fmt rgb24"
    )


def _samples(path: Path, rate: int, most_seconds: float, timeout: timedelta) -> Iterator[bytes]:
    left = int(most_seconds * rate) * _SAMPLE_BYTES
    with reading(path, f"-map 0:a:0 -ac 1 -ar {rate} -f s16le", timeout) as samples:
        while block := samples.read(_BLOCK_BYTES):
            left -= len(block)
            if left < 0:
                raise Overlong
            yield block


def _facts(kind: Kind, video: Track | None, audio: Track | None) -> MediaFacts:
    return MediaFacts(
        kind=kind,
        duration_seconds=max(track.seconds for track in (video, audio) if track),
        has_audio=audio is not None,
        has_video=video is not None,
        width=video.width if video else None,
        height=video.height if video else None,
        fps=video.fps if video else None,
    )


def _check_file(path: Path, most_bytes: int) -> None:
    size_bytes = path.stat().st_size
    if size_bytes > most_bytes:
        raise _refused("too_large", f"has {size_bytes:,} bytes; at most {most_bytes:,} are taken")
    with path.open("rb") as file:
        if not _STARTS.match(file.read(12)):
            raise _refused("format", "is no MP4, MOV, WebM, WAV, MP3, M4A, FLAC or Ogg")


@contextmanager
def _refusing(most_seconds: float) -> Iterator[None]:
    """ffmpeg's trouble is the fault of whoever gave the file."""
    try:
        yield
    except Overlong:
        raise _refused("too_long", f"is longer than {most_seconds:g} s") from None
    except Late:
        raise _refused("timeout", "takes too long to read") from None
    except Unread:
        raise _refused("unreadable", "is cut off, broken or of an unusual kind") from None


def _refused(code: str, what: str) -> AttemptFailed:
    return AttemptFailed(FailureKind.USER, f"media_{code}", f"the file {what}")
