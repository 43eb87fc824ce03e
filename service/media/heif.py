"""Parse the metadata of HEIC and AVIF (ISO/IEC 23008-12) without decoding."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from service.media.image_parts import MAX_PROFILE_BYTES, InvalidImage
from service.media.named_colours import Colours, colours_of

_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
# Phones write a few thousand bytes, colour profile included; each entry takes time to read.
_MAX_META_BYTES = 1 << 20
_CODECS = {b"hvc1": "hevc", b"av01": "av1"}
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")


@dataclass(frozen=True)
class HeifParts:
    """The primary image. Its size is as stored, before a rotation by a quarter (`is_rotated`)."""

    item: int
    codec: str  # ffmpeg's name
    is_grid: bool
    width: int
    height: int
    is_rotated: bool
    alpha: int | None  # the item with the alpha channel
    profile: bytes | None = field(repr=False)
    colours: Colours | None


def media_type(head: bytes) -> str | None:
    """Return the media type by the first 16 bytes; None for all but still images."""
    if head[4:8] != b"ftyp":
        return None
    if head[8:12] in _AVIF:
        return "image/avif"
    return "image/heic" if head[8:12] in _HEIC else None


def parse(content: bytes) -> HeifParts:
    """Parse a file, or its beginning with the whole index. Raises InvalidImage."""
    try:
        meta = _inside(content, b"meta")
        if len(meta) > _MAX_META_BYTES:
            raise InvalidImage(
                f"its index has {len(meta):,} bytes; the limit is {_MAX_META_BYTES:,}"
            )
        return _primary(meta[4:])
    except InvalidImage:
        raise
    except (struct.error, IndexError, KeyError, ValueError, StopIteration) as error:
        raise InvalidImage("its index is truncated or broken") from error


def _primary(meta: bytes) -> HeifParts:
    item = _number(_inside(meta, b"pitm"))
    kinds, references = _kinds(meta), list(_references(meta))
    properties = _properties(meta)
    is_grid = kinds[item] == b"grid"
    tiles = next(
        (targets for kind, source, targets in references if (kind, source) == (b"dimg", item)), []
    )
    codec = _CODECS.get(kinds[tiles[0]] if is_grid else kinds[item])
    if codec is None:
        raise InvalidImage("its codec is neither HEVC nor AV1")
    own = properties[item]
    width, height = struct.unpack_from(">II", next(b for k, b in own if k == b"ispe"), 4)
    turns = sum(body[0] & 3 for kind, body in own if kind == b"irot")
    profile, colours = _colours([body for kind, body in own if kind == b"colr"])
    alphas = (
        source
        for kind, source, targets in references
        if kind == b"auxl" and item in targets and _is_alpha(properties.get(source, []))
    )
    return HeifParts(
        item, codec, is_grid, width, height, turns % 2 == 1, next(alphas, None), profile, colours
    )


def _colours(boxes: list[bytes]) -> tuple[bytes | None, Colours | None]:
    """Return the ICC profile, or else the coded colours."""
    profile = next((box[4:] for box in boxes if box[:4] in (b"prof", b"rICC")), b"")
    if 0 < len(profile) <= MAX_PROFILE_BYTES:
        return profile, None
    numbers = next((box[4:] for box in boxes if box[:4] == b"nclx"), None)
    return None, None if numbers is None else colours_of(*struct.unpack_from(">HH", numbers))


def _is_alpha(properties: list[tuple[bytes, bytes]]) -> bool:
    return any(kind == b"auxC" and body[4:].startswith(_ALPHA) for kind, body in properties)


def _kinds(meta: bytes) -> dict[int, bytes]:
    """Return the codec of each item, or `grid`."""
    body = _inside(meta, b"iinf")
    kinds = {}
    for kind, entry in _boxes(body[6 if body[0] == 0 else 8 :]):
        if kind == b"infe" and entry[0] >= 2:
            wide = entry[0] > 2
            start = 8 if wide else 6
            kinds[_number(entry, wide)] = entry[start + 2 : start + 6]
    return kinds


def _references(meta: bytes) -> Iterator[tuple[bytes, int, list[int]]]:
    """Yield the kind, source item and target items of each reference."""
    try:
        body = _inside(meta, b"iref")
    except ValueError:
        return
    letter, size = ("I", 4) if body[0] else ("H", 2)
    for kind, entry in _boxes(body[4:]):
        source, count = struct.unpack_from(f">{letter}H", entry)
        yield kind, source, list(struct.unpack_from(f">{count}{letter}", entry, size + 2))


def _properties(meta: bytes) -> dict[int, list[tuple[bytes, bytes]]]:
    iprp = _inside(meta, b"iprp")
    boxes = list(_boxes(_inside(iprp, b"ipco")))
    properties: dict[int, list[tuple[bytes, bytes]]] = {}
    for kind, body in _boxes(iprp):
        if kind == b"ipma":
            for item, indices in _associations(body):
                properties[item] = [boxes[i - 1] for i in indices if 0 < i <= len(boxes)]
    return properties


def _associations(body: bytes) -> Iterator[tuple[int, list[int]]]:
    letter, size = ("I", 4) if body[0] else ("H", 2)
    form, mask, step = ("H", 0x7FFF, 2) if body[3] & 1 else ("B", 0x7F, 1)
    (count,) = struct.unpack_from(">I", body, 4)
    offset = 8
    for _ in range(count):
        item, entries = struct.unpack_from(f">{letter}B", body, offset)
        indices = struct.unpack_from(f">{entries}{form}", body, offset + size + 1)
        offset += size + 1 + entries * step
        yield item, [index & mask for index in indices]


def _number(body: bytes, wide: bool | None = None) -> int:
    """Read the number after version and flags."""
    wide = bool(body[0]) if wide is None else wide
    return int(struct.unpack_from(">I" if wide else ">H", body, 4)[0])


def _inside(data: bytes, name: bytes) -> bytes:
    for kind, body in _boxes(data):
        if kind == name:
            return body
    raise ValueError(f"no {name!r}")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 0
    while offset + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        if size < 8 or offset + size > len(data):
            return
        yield kind, data[offset + 8 : offset + size]
        offset += size
