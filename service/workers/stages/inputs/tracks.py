"""Parse ffmpeg's `framecrc` output, one line per packet, which contains no text from the file."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

_MAX_FPS = 240  # packets with equal timestamps must not count as a short video
_HEADER = re.compile(rb"#(tb|media_type|codec_id|dimensions|channel_layout_name) (\d+): (.+)")
_PACKET = re.compile(rb"(\d+), +(?:-?\d+|NOPTS), +(-?\d+), +(\d+),")


class TooLong(Exception):
    """The file is longer than allowed."""


@dataclass
class Track:
    """The totals of one track's packets so far."""

    kind: str = ""
    codec: str = ""
    tick: Fraction = Fraction(1)  # in seconds
    width: int = 0
    height: int = 0
    channels: int = 0
    packets: int = 0
    end: int = 0  # in ticks from the file's own start

    @property
    def seconds(self) -> float:
        return float(self.end * self.tick)

    @property
    def fps(self) -> float | None:
        return self.packets / self.seconds if self.seconds else None


def read_tracks(lines: Iterable[bytes], max_seconds: float) -> dict[str, Track]:
    """Read the tracks that have packets, by kind. Raises TooLong at the first packet too many."""
    tracks: dict[int, Track] = {}
    for line in lines:
        if header := _HEADER.match(line):
            track = tracks.setdefault(int(header[2]), Track())
            _describe(track, header[1], header[3].decode().strip())
        elif packet := _PACKET.match(line):
            track = tracks[int(packet[1])]
            track.packets += 1
            track.end = max(track.end, int(packet[2]) + int(packet[3]))
            if track.seconds > max_seconds or _too_dense(track, max_seconds):
                raise TooLong
    return {track.kind: track for track in tracks.values() if track.packets}


def _describe(track: Track, name: bytes, value: str) -> None:
    if name == b"tb":
        track.tick = Fraction(value)
    elif name == b"media_type":
        track.kind = value
    elif name == b"codec_id":
        track.codec = value
    elif name == b"channel_layout_name":
        track.channels = _channels(value)
    else:
        track.width, track.height = (int(side) for side in value.split("x"))


def _channels(layout: str) -> int:
    """Return how many channels a layout such as `stereo`, `5.1(side)` or `20 channels` has; 2 for
    another word, all of which have at most 8 but one."""
    numbers = re.match(r"\d+(?:\.\d+)*", layout)
    return sum(map(int, numbers[0].split("."))) if numbers else 2


def _too_dense(track: Track, max_seconds: float) -> bool:
    return track.kind == "video" and track.packets > max_seconds * _MAX_FPS
