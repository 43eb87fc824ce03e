"""Sound and video from a stranger: what is in the file, its samples and its pixels."""

import math
import re
import wave
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.request import VideoRequest
from service.media import heif
from service.workers.stages.inputs.ffmpeg import (
    AUDIO_CODECS,
    VIDEO_CODECS,
    Late,
    UnreadableMedia,
    reading,
)
from service.workers.stages.inputs.tracks import TooLong, Track, read_tracks
from service.workers.stages.inputs.video_colours import FrameFacts, filters, read_first_frame

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
_MAX_VIDEO_SECONDS = 600.0
_FILM_TIMEOUT = timedelta(seconds=120)
_BLOCK_BYTES = 1 << 16
_MAX_FRAME_PIXELS = 24_000_000  # as of an image; 5.3K from top to bottom has as many
_GIVE = {
    "video": "H.264, HEVC, AV1, VP8, VP9, MPEG-4, ProRes or Motion JPEG",
    "audio": "AAC, ALAC, FLAC, MP3, Opus, Vorbis or PCM",
}


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
    codec: str  # of the video, or else of the sound; ffmpeg's name


def probe_media(
    path: Path, *, kinds: Set[Kind], max_bytes: int, max_seconds: float, timeout: timedelta
) -> MediaFacts:
    """Facts about the first video and the first sound track of `path`; nothing is decoded for them.

    MP4, QuickTime, WebM, Matroska, WAV, MP3, FLAC and Ogg are taken, by their first bytes. Times
    are those of the packets: of sound only `decode_audio` can tell how much there really is, and of
    pictures there are at most 240 for each of `max_seconds`. Raises AttemptFailed (user):
    `media_too_large`, `media_format`, `media_too_long`, `media_kind` (none of `kinds`),
    `media_codec` (one that is not read), `media_frame_too_large`, `media_unreadable` (cut off or
    broken), or `media_timeout` when reading takes longer than `timeout`.
    """
    _check_file(path, max_bytes)
    with _refusing(max_seconds), reading(path, _PACKETS, timeout) as lines:
        tracks = read_tracks(lines, max_seconds + _PADDING_SECONDS)
    video, audio = tracks.get("video"), tracks.get("audio")
    if video is None and audio is None:
        raise _refused("unreadable", "holds neither sound nor pictures")
    kind: Kind = "video" if video else "audio"
    if kind not in kinds:
        raise _refused("kind", f"is {kind}; give {' or '.join(sorted(kinds))}")
    facts = _facts(kind, video, audio)
    _check_codec(facts)
    _check_frame(facts.width or 0, facts.height or 0)
    return facts


def decode_audio(
    path: Path,
    into: Path,
    *,
    rate: Literal[16_000, 48_000] = 16_000,
    max_bytes: int,
    max_seconds: float,
    timeout: timedelta,
) -> float:
    """Write the first sound track to `into` as a mono 16-bit WAV of `rate` Hz; its length in s.

    The samples are counted as they come: whatever a file says of itself, `into` never holds more
    than `max_seconds` and a tenth. Sound that breaks off is taken as far as it goes. Raises
    AttemptFailed as `probe_media` does, and then leaves no file.
    """
    _check_file(path, max_bytes)
    try:
        with _refusing(max_seconds), wave.open(str(into), "wb") as target:
            target.setparams((1, _SAMPLE_BYTES, rate, 0, "NONE", ""))
            for block in _samples(path, rate, max_seconds + _PADDING_SECONDS, timeout):
                target.writeframesraw(block)
            if not target.tell():
                raise UnreadableMedia
            return target.tell() / rate
    except BaseException:
        into.unlink(missing_ok=True)
        raise


def decode_video(
    path: Path,
    request: VideoRequest,
    *,
    max_bytes: int,
    max_seconds: float = _MAX_VIDEO_SECONDS,
    timeout: timedelta = _FILM_TIMEOUT,
) -> NDArray[np.uint8]:
    """The first video track from its start, at exactly the request's size, frame rate and number of
    frames: upright, in square pixels, cropped around the middle or padded with black as the request
    has it. Of no more than `max_seconds`, of which what is not needed is not decoded.

    Raises AttemptFailed as `probe_media` does, and `media_too_short` for a film that ends more than
    a tenth of a second before the request's own end; what is lacking of less, the last frame fills.
    """
    bounds: Any = {"max_bytes": max_bytes, "max_seconds": max_seconds, "timeout": timeout}
    codec = probe_media(path, kinds={"video"}, **bounds).codec
    film = np.empty((request.num_frames, request.height, request.width, 3), np.uint8)
    count = 0
    with _refusing(max_seconds):
        first = read_first_frame(path, codec, timeout)
        _check_frame(first.width, first.height)
        _check_matrix(first)
        with reading(path, _pixels(request, first), timeout, codec=codec) as pixels:
            for frame in _frames(pixels, film[0].shape[:2], first.has_alpha):
                film[count] = frame
                count += 1
        if not count:
            raise UnreadableMedia
    if len(film) - count > request.fps * _PADDING_SECONDS + 1:
        raise _refused(
            "too_short",
            f"has {count / request.fps:.2f} s and {request.duration_seconds:.2f} s are wanted; ask "
            "for a shorter video",
        )
    film[count:] = film[count - 1]
    return film


def _frames(
    pixels: IO[bytes], size: tuple[int, int], has_alpha: bool
) -> Iterator[NDArray[np.uint8]]:
    """Frames as they come, laid over white where they are transparent."""
    shape = (*size, 4 if has_alpha else 3)
    while block := pixels.read(math.prod(shape)):
        if len(block) < math.prod(shape):
            raise UnreadableMedia
        frame = np.frombuffer(block, np.uint8).reshape(shape)
        yield _over_white(frame) if has_alpha else frame


def _over_white(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    alpha = frame[..., 3:].astype(np.uint32)
    mixed = (frame[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return mixed.astype(np.uint8)


def _pixels(request: VideoRequest, first: FrameFacts) -> str:
    """ffmpeg's options; it turns a film upright by itself."""
    size = f"{request.width}:{request.height}"
    if request.fit == "pad":
        shape = f"scale={size}:force_original_aspect_ratio=decrease,pad={size}:-1:-1"
    else:
        shape = f"scale={size}:force_original_aspect_ratio=increase,crop={size}"
    shape = filters(first, f"scale=iw*sar:ih,setsar=1,{shape}")
    return (
        f"-map 0:V:0 -vf fps={request.fps},{shape} -fps_mode passthrough "
        f"-frames:v {request.num_frames} -f rawvideo -pix_fmt "
        f"{'rgba' if first.has_alpha else 'rgb24'}"
    )


def _samples(path: Path, rate: int, max_seconds: float, timeout: timedelta) -> Iterator[bytes]:
    left = int(max_seconds * rate) * _SAMPLE_BYTES
    with reading(path, f"-map 0:a:0 -ac 1 -ar {rate} -f s16le", timeout) as samples:
        while block := samples.read(_BLOCK_BYTES):
            left -= len(block)
            if left < 0:
                raise TooLong
            yield block


def _facts(kind: Kind, video: Track | None, audio: Track | None) -> MediaFacts:
    return MediaFacts(
        kind=kind,
        duration_seconds=max(track.seconds for track in (video, audio) if track),
        has_audio=audio is not None,
        has_video=video is not None,
        codec=(video or audio or Track()).codec,
        width=video.width if video else None,
        height=video.height if video else None,
        fps=video.fps if video else None,
    )


def _check_file(path: Path, max_bytes: int) -> None:
    size_bytes = path.stat().st_size
    if size_bytes > max_bytes:
        raise _refused("too_large", f"has {size_bytes:,} bytes; at most {max_bytes:,} are taken")
    with path.open("rb") as file:
        head = file.read(16)
        if heif.media_type(head) or not _STARTS.match(head):
            raise _refused("format", "is no MP4, MOV, WebM, WAV, MP3, M4A, FLAC or Ogg")


def _check_codec(facts: MediaFacts) -> None:
    if facts.codec not in (VIDEO_CODECS if facts.has_video else AUDIO_CODECS):
        what = f"holds {facts.kind} in the codec {facts.codec}, which is not read"
        raise _refused("codec", f"{what}; give {_GIVE[facts.kind]}")


def _check_frame(width: int, height: int) -> None:
    if width * height > _MAX_FRAME_PIXELS:
        what = f"has frames of {width}x{height}; at most {_MAX_FRAME_PIXELS:,} pixels are taken"
        raise _refused("frame_too_large", what)


def _check_matrix(frame: FrameFacts) -> None:
    if not frame.has_known_matrix:
        what = f"has its colours in the matrix {frame.matrix}, which is not read"
        raise _refused("colours", f"{what}; give BT.709, BT.601 or BT.2020")


@contextmanager
def _refusing(max_seconds: float) -> Iterator[None]:
    """ffmpeg's trouble is the fault of whoever gave the file."""
    try:
        yield
    except TooLong:
        raise _refused("too_long", f"is longer than {max_seconds:g} s") from None
    except Late:
        raise _refused("timeout", "takes too long to read") from None
    except UnreadableMedia:
        raise _refused("unreadable", "is cut off or broken") from None


def _refused(code: str, what: str) -> AttemptFailed:
    return AttemptFailed(FailureKind.USER, f"media_{code}", f"the file {what}")
