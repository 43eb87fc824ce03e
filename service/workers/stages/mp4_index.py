"""Read the index of an MP4 (ISO/IEC 14496-12): exact counts, which ffmpeg only prints rounded."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Track:
    """The first track of a file: `duration / timescale` is its length in seconds. Players show
    `movie_duration / movie_timescale`, the length of the whole file."""

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
    """Return timescale and duration, which `mdhd` and `mvhd` have at the same offset."""
    layout, start = (">IQ", 20) if header[:1] == b"\x01" else (">II", 12)
    timescale, duration = struct.unpack_from(layout, header, start)
    return timescale, duration


def _top_level(path: Path) -> tuple[list[str], bytes]:
    """Return the names of the outermost boxes in order, and the content of `moov`."""
    names: list[str] = []
    moov = b""
    end = path.stat().st_size
    offset = 0
    with path.open("rb") as file:
        while offset < end:
            file.seek(offset)
            name, size = _header(file.read(16), end - offset)
            names.append(name)
            if name == "moov":
                file.seek(offset + 8)
                moov = file.read(size - 8)
            offset += size
    if "moov" not in names or "mdat" not in names:
        raise ValueError("no moov or no mdat")
    return names, moov


def _inside(data: bytes, *names: str) -> bytes:
    """Return the content of the first box at the path `names`."""
    for name in names:
        for box, content in _boxes(data):
            if box == name:
                data = content
                break
        else:
            raise ValueError(f"no {name}")
    return data


def _boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    offset = 0
    while offset + 8 <= len(data):
        name, size = _header(data[offset : offset + 16], len(data) - offset)
        yield name, data[offset + 8 : offset + size]
        offset += size


def _header(start: bytes, remaining: int) -> tuple[str, int]:
    """Return a box's name and total size; 1 means that 64 bits follow, 0 means to the end."""
    if len(start) < 8:
        raise ValueError("cut off")
    size, name = struct.unpack_from(">I4s", start)
    if size == 1 and len(start) == 16:
        (size,) = struct.unpack_from(">Q", start, 8)
    size = size or remaining
    if size < 8:
        raise ValueError("a box without a size")
    return name.decode("latin-1"), size
