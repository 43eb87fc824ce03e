"""Reads an MP4's own index (ISO/IEC 14496-12): exact counts, where ffmpeg only prints roundings."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Track:
    """The first track of a file: `duration / timescale` is its length in seconds, and the same of
    the whole file, which players show."""

    timescale: int
    duration: int
    movie_timescale: int
    movie_duration: int
    samples: int
    index_first: bool  # `moov` before `mdat`: a player can start before the whole file is there


def read_track(path: Path) -> Track:
    """Raises ValueError when the file is not an MP4 with a track."""
    top, moov = _top_level(path)
    media = _inside(moov, "trak", "mdia")
    try:
        clocks = (*_clock(_inside(media, "mdhd")), *_clock(_inside(moov, "mvhd")))
        (samples,) = struct.unpack_from(">I", _inside(media, "minf", "stbl", "stsz"), 8)
    except struct.error as error:
        raise ValueError("a box is too short") from error
    return Track(*clocks, samples, top.index("moov") < top.index("mdat"))


def _clock(header: bytes) -> tuple[int, int]:
    """The timescale and the duration, which both kinds of header have at one place."""
    layout, start = (">IQ", 20) if header[:1] == b"\x01" else (">II", 12)
    timescale, duration = struct.unpack_from(layout, header, start)
    return timescale, duration


def _top_level(path: Path) -> tuple[list[str], bytes]:
    """The names of the outermost boxes in order, and the content of `moov`."""
    names: list[str] = []
    moov = b""
    end = path.stat().st_size
    place = 0
    with path.open("rb") as file:
        while place < end:
            file.seek(place)
            name, size = _header(file.read(16), end - place)
            names.append(name)
            if name == "moov":
                file.seek(place + 8)
                moov = file.read(size - 8)
            place += size
    if "moov" not in names or "mdat" not in names:
        raise ValueError("no moov or no mdat")
    return names, moov


def _inside(data: bytes, *names: str) -> bytes:
    """The content of the first box reached by following `names` inward."""
    for name in names:
        for found, content in _boxes(data):
            if found == name:
                data = content
                break
        else:
            raise ValueError(f"no {name}")
    return data


def _boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    place = 0
    while place + 8 <= len(data):
        name, size = _header(data[place : place + 16], len(data) - place)
        yield name, data[place + 8 : place + size]
        place += size


def _header(start: bytes, left: int) -> tuple[str, int]:
    """A box's name and whole size; size 1 means that 64 bits follow, 0 means to the end."""
    if len(start) < 8:
        raise ValueError("cut off")
    size, name = struct.unpack_from(">I4s", start)
    if size == 1 and len(start) == 16:
        (size,) = struct.unpack_from(">Q", start, 8)
    size = size or left
    if size < 8:
        raise ValueError("a box without a size")
    return name.decode("latin-1"), size
