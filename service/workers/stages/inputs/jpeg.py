"""JPEG (ITU T.81) without comments, previews, texts and what follows the image."""

import re
import struct
from collections.abc import Iterator
from itertools import count

from service.media.image_parts import (
    MAX_PROFILE_BYTES,
    ImageParts,
    NoImage,
    check_part,
)

START = b"\xff\xd8\xff"
# A progressive file has about 10. Each costs a pass over the whole image, however short it is.
_MAX_SCANS = 64
_MARKER = re.compile(rb"\xff+([^\xff])", re.DOTALL)
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_SCAN, _END = 0xDA, b"\xff\xd9"
_COLOUR = ((0xE0, b"JFIF\0"), (0xEE, b"Adobe"))  # whether it is YCbCr, RGB, CMYK or YCCK
_EXIF, _PROFILE = b"Exif\0\0", b"ICC_PROFILE\0"


def take_apart(content: bytes) -> ImageParts:
    """Raises NoImage. Of several images in one file (MPO) the first is left."""
    kept, frames, exif, pieces = [START[:2]], [], b"", {}
    place = 2
    for marker, body, place in _segments(content):  # noqa: B007 - the last one's end is used
        if marker in _SIZES:
            frames.append(body)
        if marker == 0xE1 and body.startswith(_EXIF):
            exif = exif or body
        elif marker == 0xE2 and body.startswith(_PROFILE):
            pieces[body[12:13]] = body[14:]  # numbered, in any order
        elif _matters(marker, body):
            kept.append(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body)
    if len(frames) != 1:
        raise NoImage("it has no header, or two")
    height, width = (int.from_bytes(frames[0][start : start + 2], "big") for start in (1, 3))
    kept.append(_scans(content, place))
    profile = b"".join(pieces[number] for number in sorted(pieces))
    return ImageParts("JPEG", width, height, b"".join(kept), _moderate(profile), exif)


def _segments(content: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Each segment before the first scan: its marker, its body, and where it ends."""
    place = 2
    for number in count():
        found = _MARKER.match(content, place)
        if found is None:
            raise NoImage("it is cut off, or broken before its first scan")
        marker = found[1][0]
        if marker == _SCAN:
            return
        size = int.from_bytes(content[found.end() : found.end() + 2], "big")
        place = found.end() + max(2, size)
        check_part(number, place, content)
        yield marker, content[found.end() + 2 : place], place


def _matters(marker: int, body: bytes) -> bool:
    """Whether a decoder needs this segment: tables do, of the application's own two do."""
    if marker < 0xE0:
        return True
    return any(marker == known and body.startswith(start) for known, start in _COLOUR)


def _scans(content: bytes, place: int) -> bytes:
    """From the first scan to the end of the image: within scans no marker occurs by chance."""
    end = content.find(_END, place)
    if end < 0:
        raise NoImage("it is cut off")
    if content.count(b"\xff\xda", place, end) > _MAX_SCANS:
        raise NoImage(f"it has more than {_MAX_SCANS} scans")
    return content[place : end + 2]


def _moderate(profile: bytes) -> bytes | None:
    return profile if 0 < len(profile) <= MAX_PROFILE_BYTES else None
