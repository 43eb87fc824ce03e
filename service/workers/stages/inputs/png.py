"""Parse PNG (ISO/IEC 15948), removing texts, times and further frames."""

import struct
import zlib
from collections.abc import Iterator
from itertools import count

from service.media.image_parts import (
    MAX_PROFILE_BYTES,
    ImageParts,
    InvalidImage,
    check_part,
)
from service.media.named_colours import BT709, Colours, colours_of
from service.workers.stages.inputs.srgb import is_colour_space

START = b"\x89PNG\r\n\x1a\n"
_DEPTH = 16  # offset of the bits per channel in the header chunk
# cICP overrides iCCP, which overrides sRGB, which overrides gAMA and cHRM.
_METADATA = frozenset({b"eXIf", b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"})
_NEAR = 0.05  # a gamma or a primary that differs by less counts as sRGB's
_IMAGE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def parse(content: bytes) -> ImageParts:
    """Parse the image; of an animation (APNG) the still image remains. Raises InvalidImage."""
    chunks: list[bytes] = [START]
    metadata: dict[bytes, bytes] = {}
    for kind, body, chunk in _chunks(content):
        # A second header would change the size after it was checked.
        if (kind == b"IHDR") != (len(chunks) == 1):
            raise InvalidImage("its header is misplaced")
        if kind == b"tRNS" and chunks[1][_DEPTH] == 16:
            continue  # Pillow would compare its 16 bits with 8 of each pixel
        if kind in _IMAGE:
            chunks.append(chunk)
        elif kind in _METADATA:
            metadata.setdefault(kind, body)
    width, height = (int.from_bytes(chunks[1][start : start + 4], "big") for start in (8, 12))
    profile = (
        _inflate_profile(metadata[b"iCCP"])
        if {b"iCCP", b"cICP"} & set(metadata) == {b"iCCP"}
        else None
    )
    colours = None if profile else _colours(metadata)
    exif = metadata.get(b"eXIf", b"")
    return ImageParts("PNG", width, height, b"".join(chunks), profile, exif, colours)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield name, body and all bytes of each chunk up to IEND."""
    offset, kind = len(START), b""
    for number in count():
        if kind == b"IEND":
            return
        end = offset + 12 + int.from_bytes(content[offset : offset + 4], "big")
        check_part(number, end, content)
        kind = content[offset + 4 : offset + 8]
        yield kind, content[offset + 8 : end - 4], content[offset:end]
        offset = end


def _inflate_profile(body: bytes) -> bytes | None:
    """Inflate the profile of an iCCP chunk (name, NUL, method, zlib); None if broken or huge."""
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(body.partition(b"\0")[2][1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if inflater.eof else None


def _colours(metadata: dict[bytes, bytes]) -> Colours | None:
    """Return the colours; None for sRGB and for invalid metadata."""
    if len(cicp := metadata.get(b"cICP", b"")) == 4:
        return colours_of(cicp[0], cicp[1])
    if b"sRGB" in metadata:
        return None
    colours = Colours(
        _primaries(metadata.get(b"cHRM", b"")), None, _gamma(metadata.get(b"gAMA", b""))
    )
    return None if colours == Colours() else colours


def _gamma(body: bytes) -> float | None:
    """Return the decoding exponent; None if it is absurd or close to sRGB's."""
    exponent = int.from_bytes(body, "big") / 100_000 if len(body) == 4 else 0
    if not 0.1 <= exponent <= 10 or abs(exponent * 2.2 - 1) < _NEAR:
        return None
    return 1 / exponent


def _primaries(body: bytes) -> tuple[float, ...]:
    """Return the primaries, white last; BT.709's if they form no colour space."""
    if len(body) != 32:
        return BT709
    white_x, white_y, *rgb = (value / 100_000 for value in struct.unpack(">8I", body))
    primaries = (*rgb, white_x, white_y)
    is_near = all(abs(a - b) < _NEAR / 10 for a, b in zip(primaries, BT709, strict=True))
    return BT709 if is_near or not is_colour_space(primaries) else primaries
