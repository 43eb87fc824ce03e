"""Detect the type of a file by its first bytes and the size of an image by its header."""

import re
from pathlib import Path
from typing import BinaryIO

from service.media import heif
from service.media.exif import read_orientation
from service.media.image_parts import InvalidImage

_HEADS = (
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"RIFF....WEBP", "image/webp"),
    (rb"....ftypM4[AB] ", "audio/mp4"),
    (rb"....ftypqt  |....(?:moov|mdat|wide|free|skip)", "video/quicktime"),
    (rb"....ftyp", "video/mp4"),
    (rb"RIFF....WAVE", "audio/wav"),
    (rb"fLaC", "audio/flac"),
    (rb"OggS", "audio/ogg"),
    (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", "audio/mpeg"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "audio/aac"),
    (rb"FORM....AIF[FC]", "audio/aiff"),
    (rb"caff", "audio/x-caf"),
    (rb"#!AMR", "audio/amr"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "audio/x-ms-wma"),
    (rb"\x1aE\xdf\xa3", "video/webm"),  # or Matroska, which differs further on
)
_TYPES = [(re.compile(head, re.DOTALL), media_type) for head, media_type in _HEADS]
_MAX_INDEX_BYTES = 1 << 20  # at the beginning of a HEIC; phones write a few thousand
_MAX_SEGMENTS = 1_000  # before the size of a JPEG; real ones have tens
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


def media_type(file: Path) -> str | None:
    """Return the supported media type of a file, or None."""
    with file.open("rb") as stream:
        head = stream.read(16)
    photo = heif.media_type(head)
    if photo is not None:
        return photo
    return next((name for pattern, name in _TYPES if pattern.match(head)), None)


def image_size(file: Path) -> tuple[int, int] | None:
    """Return the upright width and height that the header claims, or None. Only decoding shows
    that the image is valid."""
    kind = media_type(file)
    with file.open("rb") as stream:
        if kind == "image/png":
            size = _png(stream.read(24))
        elif kind == "image/webp":
            size = _webp(stream.read(30))
        elif kind == "image/jpeg":
            size = _jpeg(stream)
        elif kind in ("image/heic", "image/avif"):
            size = _photo(stream.read(_MAX_INDEX_BYTES))
        else:
            size = None
    return size if size and all(size) else None


def _png(head: bytes) -> tuple[int, int] | None:
    if len(head) < 24:
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _webp(head: bytes) -> tuple[int, int] | None:
    """Read the size from the first chunk, which has one of three formats (RFC 9649)."""
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
        parts = heif.parse(head)
    except InvalidImage:
        return None
    return (parts.height, parts.width) if parts.is_rotated else (parts.width, parts.height)


def _jpeg(file: BinaryIO) -> tuple[int, int] | None:
    """Skip from segment to segment up to the frame header."""
    file.seek(2)
    is_rotated = False
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
            height, width = (int.from_bytes(file.read(3)[-2:], "big"), _read_uint16(file))
            return (height, width) if is_rotated else (width, height)
        if marker == 0xE1:
            is_rotated = is_rotated or 5 <= read_orientation(file.read(length - 2)) <= 8
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


def _read_uint16(file: BinaryIO) -> int:
    return int.from_bytes(file.read(2), "big")
