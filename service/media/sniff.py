"""What a file is by its first bytes, how large a picture by its header: nothing is decoded."""

import re
from pathlib import Path
from typing import BinaryIO

from service.media import heif
from service.media.exif import orientation
from service.media.image_parts import NoImage

_HEADS = (
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"RIFF....WEBP", "image/webp"),
    (rb"....ftypqt  |....(?:moov|mdat|wide|free|skip)", "video/quicktime"),
    (rb"....ftyp", "video/mp4"),
    (rb"\x1aE\xdf\xa3", "video/webm"),  # or Matroska, which differs further on
)
_TYPES = [(re.compile(head, re.DOTALL), media_type) for head, media_type in _HEADS]
_MAX_INDEX_BYTES = 1 << 20  # at the beginning of a HEIC; a telephone's has some thousands
_MAX_SEGMENTS = 1_000  # before the size of a JPEG; real ones have tens
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


def media_type(file: Path) -> str | None:
    """One of those that are taken; None for every other file."""
    with file.open("rb") as opened:
        head = opened.read(16)
    photo = heif.media_type(head)
    if photo is not None:
        return photo
    return next((name for pattern, name in _TYPES if pattern.match(head)), None)


def image_size(file: Path) -> tuple[int, int] | None:
    """Width and height, upright, as the header claims. None where there is no telling: whether the
    picture is one is found out by whoever decodes it."""
    kind = media_type(file)
    with file.open("rb") as opened:
        if kind == "image/png":
            size = _png(opened.read(24))
        elif kind == "image/webp":
            size = _webp(opened.read(30))
        elif kind == "image/jpeg":
            size = _jpeg(opened)
        elif kind in ("image/heic", "image/avif"):
            size = _photo(opened.read(_MAX_INDEX_BYTES))
        else:
            size = None
    return size if size and all(size) else None


def _png(head: bytes) -> tuple[int, int] | None:
    if len(head) < 24:
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _webp(head: bytes) -> tuple[int, int] | None:
    """The first chunk says it in one of three ways (RFC 9649)."""
    kind, body = head[12:16], head[20:]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = body[6:8], body[8:10]
    return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF


def _photo(head: bytes) -> tuple[int, int] | None:
    try:
        parts = heif.take_apart(head)
    except NoImage:
        return None
    return (parts.height, parts.width) if parts.turned else (parts.width, parts.height)


def _jpeg(file: BinaryIO) -> tuple[int, int] | None:
    """Goes from segment to segment, past all that may stand before the size."""
    file.seek(2)
    turned = False
    for _ in range(_MAX_SEGMENTS):
        marker = _marker(file)
        if marker is None:
            return None
        if marker in _ALONE:
            continue
        length = int.from_bytes(file.read(2), "big")
        if length < 2:
            return None
        if marker in _FRAMES:
            height, width = (int.from_bytes(file.read(3)[-2:], "big"), _two(file))
            return (height, width) if turned else (width, height)
        if marker == 0xE1:
            turned = turned or 5 <= orientation(file.read(length - 2)) <= 8
        else:
            file.seek(length - 2, 1)
    return None


def _marker(file: BinaryIO) -> int | None:
    if file.read(1) != b"\xff":
        return None
    byte = file.read(1)
    while byte == b"\xff":
        byte = file.read(1)
    return byte[0] if byte else None


def _two(file: BinaryIO) -> int:
    return int.from_bytes(file.read(2), "big")
