"""Parse WebP (RFC 9649). Only the image is compressed, so the decoder may get the whole file."""

from collections.abc import Iterator
from itertools import count

from service.media.image_parts import (
    MAX_PROFILE_BYTES,
    ImageParts,
    InvalidImage,
    check_part,
)


def matches(content: bytes) -> bool:
    return content[:4] == b"RIFF" and content[8:12] == b"WEBP"


def parse(content: bytes) -> ImageParts:
    """Parse the image without trailing data. Raises InvalidImage."""
    end = 8 + int.from_bytes(content[4:8], "little")
    check_part(0, end, content)
    chunks = list(_chunks(content[:end]))
    width, height = _size(*chunks[0]) if chunks else (0, 0)
    metadata = dict(chunks)
    profile = metadata.get(b"ICCP", b"")
    return ImageParts(
        "WEBP",
        width,
        height,
        content[:end],
        profile if 0 < len(profile) <= MAX_PROFILE_BYTES else None,
        metadata.get(b"EXIF", b""),
    )


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and body of each chunk."""
    offset = 12
    for number in count():
        if offset >= len(content):
            return
        end = offset + 8 + int.from_bytes(content[offset + 4 : offset + 8], "little")
        check_part(number, end, content)
        yield content[offset : offset + 4], content[offset + 8 : end]
        offset = end + end % 2  # padded to an even offset


def _size(kind: bytes, body: bytes) -> tuple[int, int]:
    """Return width and height from the first chunk, which has one of three formats."""
    if kind == b"VP8X":
        width, height = body[4:7], body[7:10]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = body[6:8], body[8:10]
        return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF
    raise InvalidImage("its first chunk is not an image")
