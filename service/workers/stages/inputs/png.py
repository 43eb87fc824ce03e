"""PNG (ISO/IEC 15948) without its texts, times and further frames."""

import zlib
from collections.abc import Iterator
from itertools import count

from service.workers.stages.inputs.parts import (
    MOST_PROFILE_BYTES,
    ImageParts,
    NoImage,
    check_part,
)

START = b"\x89PNG\r\n\x1a\n"
_DEPTH = 16  # where a whole header says how many bits a channel has
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def take_apart(content: bytes) -> ImageParts:
    """Raises NoImage. Of an animation (APNG) the still picture is left that other readers show."""
    kept, profile, exif = [START], None, b""
    for kind, body, whole in _chunks(content):
        # A second header would change the size after it was judged.
        if (kind == b"IHDR") != (len(kept) == 1):
            raise NoImage("its header is not where it belongs")
        if kind == b"tRNS" and kept[1][_DEPTH] == 16:
            continue  # Pillow would compare 16 bits of it with 8 of each pixel
        if kind in _KEPT:
            kept.append(whole)
        elif kind == b"iCCP":
            profile = _unpacked(body)
        elif kind == b"eXIf":
            exif = body
    width, height = (int.from_bytes(kept[1][start : start + 4], "big") for start in (8, 12))
    return ImageParts("PNG", width, height, b"".join(kept), profile, exif)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Each chunk up to IEND: its name, its body, and all of it."""
    place, kind = len(START), b""
    for number in count():
        if kind == b"IEND":
            return
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        check_part(number, end, content)
        kind = content[place + 4 : place + 8]
        yield kind, content[place + 8 : end - 4], content[place:end]
        place = end


def _unpacked(body: bytes) -> bytes | None:
    """The profile of an iCCP chunk (a name, NUL, a method, zlib); None if it is broken or huge."""
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(body.partition(b"\0")[2][1:], MOST_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if unpacker.eof else None
