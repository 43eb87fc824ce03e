"""WebP (RFC 9649): nothing in it unpacks but the image, so all of it may reach a decoder."""

from collections.abc import Iterator
from itertools import count

from service.media.image_parts import (
    MAX_PROFILE_BYTES,
    ImageParts,
    NoImage,
    check_part,
)


def starts(content: bytes) -> bool:
    return content[:4] == b"RIFF" and content[8:12] == b"WEBP"


def take_apart(content: bytes) -> ImageParts:
    """Raises NoImage. What follows the image is left out."""
    last = 8 + int.from_bytes(content[4:8], "little")
    check_part(0, last, content)
    chunks = list(_chunks(content[:last]))
    width, height = _size(*chunks[0]) if chunks else (0, 0)
    asides = dict(chunks)
    profile = asides.get(b"ICCP", b"")
    return ImageParts(
        "WEBP",
        width,
        height,
        content[:last],
        profile if 0 < len(profile) <= MAX_PROFILE_BYTES else None,
        asides.get(b"EXIF", b""),
    )


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each chunk's name and body."""
    place = 12
    for number in count():
        if place >= len(content):
            return
        end = place + 8 + int.from_bytes(content[place + 4 : place + 8], "little")
        check_part(number, end, content)
        yield content[place : place + 4], content[place + 8 : end]
        place = end + end % 2  # padded to an even place


def _size(kind: bytes, body: bytes) -> tuple[int, int]:
    """Width and height, which the first chunk gives in one of three ways."""
    if kind == b"VP8X":
        width, height = body[4:7], body[7:10]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = body[6:8], body[8:10]
        return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF
    raise NoImage("it begins with no image")
