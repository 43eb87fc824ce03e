"""HEIC and AVIF (ISO/IEC 23008-12): what a telephone's photo says of itself, nothing decoded."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from service.media.image_parts import MAX_PROFILE_BYTES, NoImage
from service.media.named_colours import Colours, named

_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
# A telephone's has some thousands, its colour profile included; each entry costs time to read.
_MAX_META_BYTES = 1 << 20
_CODECS = {b"hvc1": "hevc", b"av01": "av1"}
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")


@dataclass(frozen=True)
class HeifParts:
    """The primary image. Its size is as it is stored; where it is `turned`, by a quarter."""

    item: int
    codec: str  # as ffmpeg names it
    is_grid: bool
    width: int
    height: int
    turned: bool
    alpha: int | None  # the item with the transparency
    profile: bytes | None = field(repr=False)
    colours: Colours | None


def media_type(head: bytes) -> str | None:
    """By its first 16 bytes; None for what is no still image, a video among it."""
    if head[4:8] != b"ftyp":
        return None
    if head[8:12] in _AVIF:
        return "image/avif"
    return "image/heic" if head[8:12] in _HEIC else None


def take_apart(content: bytes) -> HeifParts:
    """Raises NoImage. The beginning of a file is enough, if its index is there."""
    try:
        meta = _inside(content, b"meta")
        if len(meta) > _MAX_META_BYTES:
            raise NoImage(
                f"its index has {len(meta):,} bytes; at most {_MAX_META_BYTES:,} are read"
            )
        return _primary(meta[4:])
    except NoImage:
        raise
    except (struct.error, IndexError, KeyError, ValueError, StopIteration) as error:
        raise NoImage("its index is cut off or broken") from error


def _primary(meta: bytes) -> HeifParts:
    item = _number(_inside(meta, b"pitm"))
    kinds, references = _kinds(meta), list(_references(meta))
    properties = _properties(meta)
    is_grid = kinds[item] == b"grid"
    tiles = next((to for kind, of, to in references if (kind, of) == (b"dimg", item)), [])
    codec = _CODECS.get(kinds[tiles[0]] if is_grid else kinds[item])
    if codec is None:
        raise NoImage("it is neither HEVC nor AV1 inside")
    own = properties[item]
    width, height = struct.unpack_from(">II", next(b for k, b in own if k == b"ispe"), 4)
    turns = sum(body[0] & 3 for kind, body in own if kind == b"irot")
    profile, colours = _colours([body for kind, body in own if kind == b"colr"])
    alphas = (
        of
        for kind, of, to in references
        if kind == b"auxl" and item in to and _is_alpha(properties.get(of, []))
    )
    return HeifParts(
        item, codec, is_grid, width, height, turns % 2 == 1, next(alphas, None), profile, colours
    )


def _colours(boxes: list[bytes]) -> tuple[bytes | None, Colours | None]:
    """A profile counts more than numbers."""
    profile = next((box[4:] for box in boxes if box[:4] in (b"prof", b"rICC")), b"")
    if 0 < len(profile) <= MAX_PROFILE_BYTES:
        return profile, None
    numbers = next((box[4:] for box in boxes if box[:4] == b"nclx"), None)
    return None, None if numbers is None else named(*struct.unpack_from(">HH", numbers))


def _is_alpha(properties: list[tuple[bytes, bytes]]) -> bool:
    return any(kind == b"auxC" and body[4:].startswith(_ALPHA) for kind, body in properties)


def _kinds(meta: bytes) -> dict[int, bytes]:
    """Of each item: how it is coded, or `grid`."""
    body = _inside(meta, b"iinf")
    kinds = {}
    for kind, entry in _boxes(body[6 if body[0] == 0 else 8 :]):
        if kind == b"infe" and entry[0] >= 2:
            wide = entry[0] > 2
            start = 8 if wide else 6
            kinds[_number(entry, wide)] = entry[start + 2 : start + 6]
    return kinds


def _references(meta: bytes) -> Iterator[tuple[bytes, int, list[int]]]:
    """The kind of each, the item that refers, and those that it refers to."""
    try:
        body = _inside(meta, b"iref")
    except ValueError:
        return
    letter, size = ("I", 4) if body[0] else ("H", 2)
    for kind, entry in _boxes(body[4:]):
        of, count = struct.unpack_from(f">{letter}H", entry)
        yield kind, of, list(struct.unpack_from(f">{count}{letter}", entry, size + 2))


def _properties(meta: bytes) -> dict[int, list[tuple[bytes, bytes]]]:
    iprp = _inside(meta, b"iprp")
    every = list(_boxes(_inside(iprp, b"ipco")))
    properties: dict[int, list[tuple[bytes, bytes]]] = {}
    for kind, body in _boxes(iprp):
        if kind == b"ipma":
            for item, places in _associations(body):
                properties[item] = [every[place - 1] for place in places if 0 < place <= len(every)]
    return properties


def _associations(body: bytes) -> Iterator[tuple[int, list[int]]]:
    letter, size = ("I", 4) if body[0] else ("H", 2)
    form, mask, step = ("H", 0x7FFF, 2) if body[3] & 1 else ("B", 0x7F, 1)
    (count,) = struct.unpack_from(">I", body, 4)
    place = 8
    for _ in range(count):
        item, of = struct.unpack_from(f">{letter}B", body, place)
        places = struct.unpack_from(f">{of}{form}", body, place + size + 1)
        place += size + 1 + of * step
        yield item, [number & mask for number in places]


def _number(body: bytes, wide: bool | None = None) -> int:
    """The one behind version and flags."""
    wide = bool(body[0]) if wide is None else wide
    return int(struct.unpack_from(">I" if wide else ">H", body, 4)[0])


def _inside(data: bytes, name: bytes) -> bytes:
    for kind, body in _boxes(data):
        if kind == name:
            return body
    raise ValueError(f"no {name!r}")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if size < 8 or place + size > len(data):
            return
        yield kind, data[place + 8 : place + size]
        place += size
