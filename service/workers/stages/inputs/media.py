"""Read untrusted audio and video files: facts, samples and frames."""

import math
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
from service.media import sniff
from service.workers.adapters.base import AUDIO_RATE
from service.workers.stages.inputs.ffmpeg import (
    AUDIO_CODECS,
    VIDEO_CODECS,
    MediaTimeout,
    UnreadableMedia,
    ffmpeg_output,
)
from service.workers.stages.inputs.tracks import TooLong, Track, read_tracks
from service.workers.stages.inputs.video_colours import FrameFacts, filters, read_first_frame

Kind = Literal["audio", "video"]

_PACKETS = "-map 0:V:0? -map 0:a:0? -c copy -f framecrc"
_PADDING_SECONDS = 0.1  # encoders pad their last packet
_MAX_VIDEO_SECONDS = 600.0
_MAX_CHANNELS = 8
_VIDEO_TIMEOUT = timedelta(seconds=120)
_LIMITS: Any = {"max_seconds": _MAX_VIDEO_SECONDS, "timeout": _VIDEO_TIMEOUT}
_MAX_FRAME_PIXELS = 24_000_000  # the limit of an image, and about that of 5.3K video
_SUPPORTED = {
    "video": "H.264, HEVC, AV1, VP8, VP9, MPEG-4, ProRes or Motion JPEG",
    "audio": "AAC, AC-3, ALAC, AMR, FLAC, MP3, Opus, Vorbis, WMA or PCM",
}


@dataclass(frozen=True)
class MediaFacts:
    """Facts about a file, computed from its packets: headers are not trusted."""

    kind: Kind  # "video" if there is any, with or without audio
    duration_seconds: float  # to about a packet: 0.1 s
    has_audio: bool
    has_video: bool
    width: int | None  # pixels as stored, before rotation
    height: int | None
    fps: float | None  # the average
    codec: str  # of the video, or else of the audio; ffmpeg's name
    audio_codec: str | None = None


def probe_media(
    path: Path, *, kinds: Set[Kind], max_bytes: int, max_seconds: float, timeout: timedelta
) -> MediaFacts:
    """Read facts about the first video and the first audio track of `path` without decoding.

    The formats of audio and video in media/sniff.py are supported, by their first bytes.
    Times are those of the packets: only `decode_speech` knows the real length of audio, and video
    has at most 240 frames for each of `max_seconds`. Raises AttemptFailed (user):
    `media_too_large`, `media_format`, `media_too_long`, `media_kind` (not in `kinds`),
    `media_codec` (unsupported), `media_channels` (more than 8), `media_frame_too_large`,
    `media_unreadable` (truncated or broken), or `media_timeout` when reading takes longer than
    `timeout`.
    """
    _check_file(path, max_bytes, kinds)
    with _refusing(max_seconds), ffmpeg_output(path, _PACKETS, timeout) as lines:
        tracks = read_tracks(lines, max_seconds + _PADDING_SECONDS)
    video, audio = tracks.get("video"), tracks.get("audio")
    if video is None and audio is None:
        raise _refused("unreadable", "has neither audio nor video; send one that plays")
    kind: Kind = "video" if video else "audio"
    if kind not in kinds:
        raise _refused("kind", f"is {kind}; give {' or '.join(sorted(kinds))}")
    facts = _facts(kind, video, audio)
    _check_codec(facts)
    if audio is not None:
        _check_channels(audio)
    _check_frame(facts.width or 0, facts.height or 0)
    return facts


def decode_video(
    path: Path,
    request: VideoRequest,
    *,
    max_bytes: int,
) -> NDArray[np.uint8]:
    """Decode the start of the first video track to the request's size, rate and number of frames.

    Frames are upright, with square pixels, cropped around the centre or padded with black as
    requested. Raises AttemptFailed as `probe_media` does, and `media_too_short` for a video that
    ends more than 0.1 s early; a smaller gap is filled with the last frame.
    """
    codec = probe_media(path, kinds={"video"}, max_bytes=max_bytes, **_LIMITS).codec
    clip = np.empty((request.num_frames, request.height, request.width, 3), np.uint8)
    count = 0
    with _refusing(_MAX_VIDEO_SECONDS):
        first = read_first_frame(path, codec, _VIDEO_TIMEOUT)
        _check_frame(first.width, first.height)
        _check_matrix(first)
        with ffmpeg_output(path, _pixels(request, first), _VIDEO_TIMEOUT, codec=codec) as pixels:
            for frame in _frames(pixels, clip[0].shape[:2], first.has_alpha):
                clip[count] = frame
                count += 1
        if not count:
            raise UnreadableMedia
    if len(clip) - count > request.fps * _PADDING_SECONDS + 1:
        raise _refused(
            "too_short",
            f"has {count / request.fps:.2f} s and {request.duration_seconds:.2f} s are needed; "
            "request a shorter video",
        )
    clip[count:] = clip[count - 1]
    return clip


def decode_sound(
    path: Path,
    samples: int,
    *,
    max_bytes: int,
) -> NDArray[np.int16] | None:
    """Decode the start of the first audio track: int16, shape (`samples`, 2), at 48 kHz; None
    where there is no audio.

    It begins where the video does, and silence fills what is missing. Raises AttemptFailed as
    `probe_media` does.
    """
    facts = probe_media(path, kinds={"video"}, max_bytes=max_bytes, **_LIMITS)
    if facts.audio_codec is None:
        return None
    _check_audio_codec(facts.audio_codec, ", or keep_audio false")
    sound = np.zeros((samples, 2), np.int16)
    with _refusing(_MAX_VIDEO_SECONDS):
        # Its frames begin with the first one, so what is heard before that is cut off.
        first = round(read_first_frame(path, facts.codec, _VIDEO_TIMEOUT).start * AUDIO_RATE)
    options = _samples(f",atrim=start_sample={first}:end_sample={first + samples}")
    with _refusing(_MAX_VIDEO_SECONDS), ffmpeg_output(path, options, _VIDEO_TIMEOUT) as stream:
        block = np.frombuffer(stream.read(sound.nbytes), np.int16).reshape(-1, 2)
        stream.read()
    sound[: len(block)] = block
    return sound


def decode_speech(
    path: Path,
    *,
    max_bytes: int,
    max_seconds: float,
    timeout: timedelta = _VIDEO_TIMEOUT,
) -> NDArray[np.int16]:
    """Decode the whole first audio track: int16, shape (samples, 2), at 48 kHz.

    Samples are counted as they are decoded, whatever the headers claim; truncated audio is read up
    to its end. Raises AttemptFailed as `probe_media` does, and `media_kind` for a file without
    sound.
    """
    limits: Any = {"max_bytes": max_bytes, "max_seconds": max_seconds, "timeout": timeout}
    facts = probe_media(path, kinds={"audio", "video"}, **limits)
    audio_codec = facts.audio_codec if facts.has_video else facts.codec
    if audio_codec is None:
        raise _refused("kind", "has no sound; give a recording of a voice")
    _check_audio_codec(audio_codec)
    max_samples = int((max_seconds + _PADDING_SECONDS) * AUDIO_RATE)
    with _refusing(max_seconds), ffmpeg_output(path, _samples(), timeout) as stream:
        content = stream.read(max_samples * 4 + 1)
        if len(content) > max_samples * 4:
            raise TooLong
        if not content:
            raise UnreadableMedia
    return np.frombuffer(content, np.int16).reshape(-1, 2)


def _samples(more_filters: str = "") -> str:
    """Build the output options of the first audio track, at AUDIO_RATE in stereo."""
    resample = f"aresample={AUDIO_RATE}:async=1:first_pts=0"
    return f"-map 0:a:0 -af {resample}{more_filters} -ac 2 -f s16le"


def _frames(
    pixels: IO[bytes], size: tuple[int, int], has_alpha: bool
) -> Iterator[NDArray[np.uint8]]:
    """Yield frames, with transparency blended over white."""
    shape = (*size, 4 if has_alpha else 3)
    while block := pixels.read(math.prod(shape)):
        if len(block) < math.prod(shape):
            raise UnreadableMedia
        frame = np.frombuffer(block, np.uint8).reshape(shape)
        yield _blend_over_white(frame) if has_alpha else frame


def _blend_over_white(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    alpha = frame[..., 3:].astype(np.uint32)
    levels = (frame[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return levels.astype(np.uint8)


def _pixels(request: VideoRequest, first: FrameFacts) -> str:
    """Build the output options; ffmpeg rotates the video upright by itself."""
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


def _facts(kind: Kind, video: Track | None, audio: Track | None) -> MediaFacts:
    return MediaFacts(
        kind=kind,
        duration_seconds=max(track.seconds for track in (video, audio) if track),
        has_audio=audio is not None,
        has_video=video is not None,
        codec=(video or audio or Track()).codec,
        audio_codec=audio.codec if audio else None,
        width=video.width if video else None,
        height=video.height if video else None,
        fps=video.fps if video else None,
    )


def _check_file(path: Path, max_bytes: int, kinds: Set[Kind]) -> None:
    size_bytes = path.stat().st_size
    if size_bytes > max_bytes:
        raise _refused(
            "too_large", f"has {size_bytes:,} bytes; the limit is {max_bytes:,}: send a smaller one"
        )
    if not (sniff.media_type(path) or "").startswith(("audio/", "video/")):
        names = "or Matroska"
        if "audio" in kinds:
            names = "Matroska, WAV, MP3, M4A, AAC, FLAC, Ogg, AIFF, CAF, AMR or WMA"
        raise _refused("format", f"is not an MP4, MOV, WebM, {names} file; send one of those")


def _check_codec(facts: MediaFacts) -> None:
    if facts.codec not in (VIDEO_CODECS if facts.has_video else AUDIO_CODECS):
        reason = f"has {facts.kind} in the codec {facts.codec}, which is not supported"
        raise _refused("codec", f"{reason}; give {_SUPPORTED[facts.kind]}")


def _check_audio_codec(codec: str, alternative: str = "") -> None:
    if codec not in AUDIO_CODECS:
        reason = f"has sound in the codec {codec}, which is not supported"
        raise _refused("codec", f"{reason}; give {_SUPPORTED['audio']}{alternative}")


def _check_channels(audio: Track) -> None:
    if audio.channels > _MAX_CHANNELS:
        reason = f"has {audio.channels} channels of sound; give mono, stereo, 5.1 or 7.1"
        raise _refused("channels", reason)


def _check_frame(width: int, height: int) -> None:
    if width * height > _MAX_FRAME_PIXELS:
        reason = f"has frames of {width}x{height}; the limit is {_MAX_FRAME_PIXELS:,} pixels"
        raise _refused("frame_too_large", reason)


def _check_matrix(frame: FrameFacts) -> None:
    if not frame.has_known_matrix:
        reason = f"has the colour matrix {frame.matrix}, which is not supported"
        raise _refused("colours", f"{reason}; give BT.709, BT.601 or BT.2020")


@contextmanager
def _refusing(max_seconds: float) -> Iterator[None]:
    """Turn failures of ffmpeg inside the block into AttemptFailed (user)."""
    try:
        yield
    except TooLong:
        raise _refused(
            "too_long", f"is longer than {max_seconds:g} s; send a shorter one"
        ) from None
    except MediaTimeout:
        raise _refused("timeout", "takes too long to read; send it in another format") from None
    except UnreadableMedia:
        raise _refused("unreadable", "is truncated or broken; send it whole") from None


def _refused(code: str, reason: str) -> AttemptFailed:
    return AttemptFailed(FailureKind.USER, f"media_{code}", f"the file {reason}")
