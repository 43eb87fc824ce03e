"""Read how long the sound of a file is by its header. Only decoding shows the real length."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from service.media import sniff

_MAX_PARTS = 1_000  # chunks of a WAV, or boxes beside each other; real files have tens
_MAX_TAG_BYTES = 32 << 20  # before an MP3's first frame: pictures of a cover
_LAST_BYTES = 1 << 17  # of an Ogg file, which hold its last page
# By the two bits of an MPEG frame's version, from 2.5 on; the second is not used.
_MPEG_RATES = ((11_025, 12_000, 8_000), (), (22_050, 24_000, 16_000), (44_100, 48_000, 32_000))


def sound_seconds(file: Path) -> float | None:
    """Return the seconds of sound that the header of a WAV, FLAC, Ogg, MP3 or MP4 claims, to about
    a tenth; None for others and where it claims none."""
    read = _READERS.get(sniff.media_type(file) or "")
    if read is None:
        return None
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        seconds = read(stream, size)
    return seconds if seconds and seconds > 0 else None


def _wav(file: BinaryIO, size: int) -> float | None:
    file.seek(12)
    bytes_per_second = 0
    for _ in range(_MAX_PARTS):
        head = file.read(8)
        if len(head) < 8:
            return None
        length = int.from_bytes(head[4:], "little")
        start = file.tell()
        if head[:4] == b"data":
            # What was written to a pipe claims the largest number.
            length = min(length, size - start)
            return length / bytes_per_second if bytes_per_second else None
        if head[:4] == b"fmt ":
            bytes_per_second = int.from_bytes(file.read(12)[8:], "little")
        file.seek(start + length + length % 2)
    return None


def _flac(file: BinaryIO, _size: int) -> float | None:
    numbers = int.from_bytes(file.read(26)[18:], "big")
    rate, samples = numbers >> 44, numbers & (1 << 36) - 1
    return samples / rate if rate else None


def _ogg(file: BinaryIO, size: int) -> float | None:
    """Read the position of the last page, in samples of the rate in the first one."""
    head = file.read(64)
    if (at := head.find(b"OpusHead")) >= 0:
        rate, skip = 48_000, int.from_bytes(head[at + 10 : at + 12], "little")
    elif (at := head.find(b"\x01vorbis")) >= 0:
        rate, skip = int.from_bytes(head[at + 12 : at + 16], "little"), 0
    else:
        return None
    file.seek(max(0, size - _LAST_BYTES))
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or not rate:
        return None
    samples = int.from_bytes(tail[at + 6 : at + 14], "little", signed=True)
    return (samples - skip) / rate


def _mp3(file: BinaryIO, _size: int) -> float | None:
    """Read the number of frames that an encoder wrote into the first one (Xing, Info)."""
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:])))
    if start > _MAX_TAG_BYTES:
        return None
    file.seek(start)
    frame = file.read(192)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or len(frame) < at + 12 or not frame[at + 7] & 1:
        return None
    version, index = frame[1] >> 3 & 3, frame[2] >> 2 & 3
    rates = _MPEG_RATES[version]
    if index >= len(rates):
        return None
    frames = int.from_bytes(frame[at + 8 : at + 12], "big")
    return frames * (1152 if version == 3 else 576) / rates[index]


def _mp4(file: BinaryIO, size: int) -> float | None:
    """Read the length of the first track of sound."""
    for name, start, end in _boxes(file, 0, size):
        if name != b"moov":
            continue
        for track in (box for box in _boxes(file, start, end) if box[0] == b"trak"):
            media = next((box for box in _boxes(file, *track[1:]) if box[0] == b"mdia"), None)
            if media is None:
                continue
            parts = {box[0]: box[1] for box in _boxes(file, *media[1:])}
            if _read(file, parts.get(b"hdlr"), 12)[8:] == b"soun":
                return _media_seconds(_read(file, parts.get(b"mdhd"), 32))
    return None


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes between two places: name, and the start and end of what is inside."""
    for _ in range(_MAX_PARTS):
        head = _read(file, start, 16)
        if start + 8 > end or len(head) < 8:
            return
        length, inside = int.from_bytes(head[:4], "big"), start + 8
        if length == 1:
            length, inside = int.from_bytes(head[8:], "big"), start + 16
        stop = end if length == 0 else start + length
        if stop < inside:
            return
        yield head[4:8], inside, min(stop, end)
        start = stop


def _media_seconds(head: bytes) -> float | None:
    wide = head[:1] == b"\x01"
    scale = int.from_bytes(head[20:24] if wide else head[12:16], "big")
    length = int.from_bytes(head[24:32] if wide else head[16:20], "big")
    unknown = (1 << 64 if wide else 1 << 32) - 1
    return length / scale if scale and length != unknown else None


def _read(file: BinaryIO, start: int | None, length: int) -> bytes:
    if start is None or start >= 1 << 62:  # beyond what a file can have
        return b""
    file.seek(start)
    return file.read(length)


_READERS: dict[str, Callable[[BinaryIO, int], float | None]] = {
    "audio/wav": _wav,
    "audio/flac": _flac,
    "audio/ogg": _ogg,
    "audio/mpeg": _mp3,
    "audio/mp4": _mp4,
    "video/mp4": _mp4,
    "video/quicktime": _mp4,
}
