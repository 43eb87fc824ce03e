"""Parse JPEG (ITU T.81), removing comments, previews, texts and trailing data."""

import re
import struct
from collections.abc import Iterator
from itertools import count

from service.media.image_parts import (
    MAX_PROFILE_BYTES,
    ImageParts,
    InvalidImage,
    check_part,
)

START = b"\xff\xd8\xff"
# A progressive file has about 10; each costs a pass over the whole image.
_MAX_SCANS = 64
_MARKER = re.compile(rb"\xff+([^\xff])", re.DOTALL)
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_SCAN, _END = 0xDA, b"\xff\xd9"
_COLOUR = ((0xE0, b"JFIF\0"), (0xEE, b"Adobe"))  # decide between YCbCr, RGB, CMYK and YCCK
_EXIF, _PROFILE = b"Exif\0\0", b"ICC_PROFILE\0"


def parse(content: bytes) -> ImageParts:
    """Parse the first image of a file, which may have several (MPO). Raises InvalidImage."""
    segments, frames, exif, pieces = [START[:2]], [], b"", {}
    offset = 2
    for marker, body, offset in _segments(content):  # noqa: B007 - the last end is used
        if marker in _SIZES:
            frames.append(body)
        if marker == 0xE1 and body.startswith(_EXIF):
            exif = exif or body
        elif marker == 0xE2 and body.startswith(_PROFILE):
            pieces[body[12:13]] = body[14:]  # numbered, in any order
        elif _is_needed(marker, body):
            segments.append(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body)
    if len(frames) != 1:
        raise InvalidImage("it has no frame header, or several")
    height, width = (int.from_bytes(frames[0][start : start + 2], "big") for start in (1, 3))
    segments.append(_scans(content, offset))
    profile = b"".join(pieces[number] for number in sorted(pieces))
    return ImageParts("JPEG", width, height, b"".join(segments), _limit_size(profile), exif)


def _segments(content: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, body and end offset of each segment before the first scan."""
    offset = 2
    for number in count():
        match = _MARKER.match(content, offset)
        if match is None:
            raise InvalidImage("it is truncated, or broken before its first scan")
        marker = match[1][0]
        if marker == _SCAN:
            return
        size = int.from_bytes(content[match.end() : match.end() + 2], "big")
        offset = match.end() + max(2, size)
        check_part(number, offset, content)
        yield marker, content[match.end() + 2 : offset], offset


def _is_needed(marker: int, body: bytes) -> bool:
    """Check that a decoder needs this segment: tables, and two application segments."""
    if marker < 0xE0:
        return True
    return any(marker == code and body.startswith(start) for code, start in _COLOUR)


def _scans(content: bytes, offset: int) -> bytes:
    """Return the bytes from the first scan to the end marker; scans never contain markers."""
    end = content.find(_END, offset)
    if end < 0:
        raise InvalidImage("it is truncated")
    if content.count(b"\xff\xda", offset, end) > _MAX_SCANS:
        raise InvalidImage(f"it has more than {_MAX_SCANS} scans")
    return content[offset : end + 2]


def _limit_size(profile: bytes) -> bytes | None:
    return profile if 0 < len(profile) <= MAX_PROFILE_BYTES else None
