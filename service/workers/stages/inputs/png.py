"""PNG (ISO/IEC 15948) without its texts, times and further frames."""

import struct
import zlib
from collections.abc import Iterator
from itertools import count

from service.media.image_parts import (
    MAX_PROFILE_BYTES,
    ImageParts,
    NoImage,
    check_part,
)
from service.media.named_colours import BT709, Colours, named
from service.workers.stages.inputs.srgb import is_possible

START = b"\x89PNG\r\n\x1a\n"
_DEPTH = 16  # where a whole header says how many bits a channel has
# Of colours cICP overrules iCCP, this sRGB, and that the last two.
_ASIDES = frozenset({b"eXIf", b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"})
_NEAR = 0.05  # a gamma or a primary that differs by less is meant to be sRGB's
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def take_apart(content: bytes) -> ImageParts:
    """Raises NoImage. Of an animation (APNG) the still image is left that other readers show."""
    chunks: list[bytes] = [START]
    asides: dict[bytes, bytes] = {}
    for kind, body, whole in _chunks(content):
        # A second header would change the size after it was judged.
        if (kind == b"IHDR") != (len(chunks) == 1):
            raise NoImage("its header is not where it belongs")
        if kind == b"tRNS" and chunks[1][_DEPTH] == 16:
            continue  # Pillow would compare 16 bits of it with 8 of each pixel
        if kind in _KEPT:
            chunks.append(whole)
        elif kind in _ASIDES:
            asides.setdefault(kind, body)
    width, height = (int.from_bytes(chunks[1][start : start + 4], "big") for start in (8, 12))
    profile = _unpacked(asides[b"iCCP"]) if {b"iCCP", b"cICP"} & set(asides) == {b"iCCP"} else None
    colours = None if profile else _colours(asides)
    exif = asides.get(b"eXIf", b"")
    return ImageParts("PNG", width, height, b"".join(chunks), profile, exif, colours)


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
        profile = unpacker.decompress(body.partition(b"\0")[2][1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if unpacker.eof else None


def _colours(told: dict[bytes, bytes]) -> Colours | None:
    """None for sRGB, and for what has no meaning."""
    if len(cicp := told.get(b"cICP", b"")) == 4:
        return named(cicp[0], cicp[1])
    if b"sRGB" in told:
        return None
    colours = Colours(_primaries(told.get(b"cHRM", b"")), None, _gamma(told.get(b"gAMA", b"")))
    return None if colours == Colours() else colours


def _gamma(body: bytes) -> float | None:
    """The exponent to decode with; one that is absurd is none."""
    encoded = int.from_bytes(body, "big") / 100_000 if len(body) == 4 else 0
    if not 0.1 <= encoded <= 10 or abs(encoded * 2.2 - 1) < _NEAR:
        return None
    return 1 / encoded


def _primaries(body: bytes) -> tuple[float, ...]:
    """White stands first there. Those of no colour space are BT.709's."""
    if len(body) != 32:
        return BT709
    white_x, white_y, *others = (value / 100_000 for value in struct.unpack(">8I", body))
    primaries = (*others, white_x, white_y)
    near = all(abs(a - b) < _NEAR / 10 for a, b in zip(primaries, BT709, strict=True))
    return BT709 if near or not is_possible(primaries) else primaries
