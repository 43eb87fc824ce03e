"""Read the index of an MP4 (ISO/IEC 14496-12): exact counts, which ffmpeg only prints rounded."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Track:
    """A track: `duration / timescale` is its length in seconds as it is played, after its edit
    list. `handler` is `vide` for video and `soun` for sound."""

    handler: str
    timescale: int
    duration: int
    samples: int


@dataclass(frozen=True)
class Index:
    """The index of a file. Players show `duration / timescale` as the length of the whole file."""

    timescale: int
    duration: int
    tracks: tuple[Track, ...]
    is_first: bool  # `moov` before `mdat`: a player can start before the whole file is there

    def track(self, handler: str) -> Track | None:
        """Return the only track of this kind. Raises ValueError where there are several."""
        tracks = [track for track in self.tracks if track.handler == handler]
        if len(tracks) > 1:
            raise ValueError(f"{len(tracks)} tracks of {handler}")
        return tracks[0] if tracks else None


def read_index(path: Path) -> Index:
    """Raises ValueError when the file is not an MP4 with a track."""
    top, moov = _top_level(path)
    try:
        tracks = tuple(_track(content) for name, content in _boxes(moov) if name == "trak")
        timescale, duration = _clock(_inside(moov, "mvhd"))
    except struct.error as error:
        raise ValueError("a box is too short") from error
    if not tracks:
        raise ValueError("no trak")
    return Index(timescale, duration, tracks, top.index("moov") < top.index("mdat"))


def _track(content: bytes) -> Track:
    media = _inside(content, "mdia")
    timescale, duration = _clock(_inside(media, "mdhd"))
    handler = _inside(media, "hdlr")[8:12].decode("latin-1")
    (samples,) = struct.unpack_from(">I", _inside(media, "minf", "stbl", "stsz"), 8)
    # AAC begins with an encoder delay, which the edit list skips. Video is shown whole: there the
    # list only says at which time stamp its first frame lies.
    delay = _edit_start(content) if handler == "soun" else 0
    return Track(handler, timescale, duration - delay, samples)


def _edit_start(content: bytes) -> int:
    """Return the media time at which the only edit starts, in the track's timescale."""
    try:
        edits = _inside(content, "edts", "elst")
    except ValueError:
        return 0
    layout, start = (">q", 16) if edits[:1] == b"\x01" else (">i", 12)
    (media_time,) = struct.unpack_from(layout, edits, start)
    return max(0, int(media_time))


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
