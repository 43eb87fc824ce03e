"""Detect a video's colours, and build the filters that convert them to BT.709."""

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from service.workers.stages.inputs.ffmpeg import UnreadableMedia, ffmpeg_output

_FRAME = re.compile(
    rb"\[Parsed_showinfo_0 @ \w+\] n: .* pts_time:(\S+) .* fmt:(\w+) .* s:(\d+)x(\d+) "
)
_TAGS = re.compile(
    rb"\[Parsed_showinfo_0 @ \w+\] color_range:\S+ color_space:(\S+) "
    rb"color_primaries:(\S+) color_trc:(\S+)"
)
_MAX_LINE_BYTES = 4096  # encoders may write megabytes of metadata into frames
_ALPHA = ("yuva", "gbrap", "rgba", "bgra", "argb", "abgr", "ya", "pal8")
_HD_ROWS = 720

# Supported by swscale and zscale; other primaries or transfers count as untagged.
_MATRICES = frozenset({"bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "bt2020nc"})
_UNTAGGED = frozenset({"unknown", "reserved", "gbr"})
_PRIMARIES = frozenset(
    {
        *("bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m", "film", "bt2020"),
        *("smpte428", "smpte431", "smpte432", "ebu3213"),
    }
)
# Players show these alike: they differ between cameras, not between displays.
_SDR = frozenset(
    {
        *("bt709", "smpte170m", "smpte240m", "bt2020-10", "bt2020-12"),
        *("iec61966-2-1", "iec61966-2-4"),
    }
)
_HDR = frozenset({"smpte2084", "arib-std-b67"})  # PQ and HLG
_TRANSFERS = _SDR | _HDR | {"bt470m", "bt470bg", "linear", "log100", "log316"}
# Diffuse white of HDR, 203 cd/m² (ITU-R BT.2408), becomes the white of SDR. Brighter light, up to
# 1,000 cd/m², is compressed into the top levels.
_WHITE = 203
_TONE_MAP = f"tonemap=mobius:param=0.85:desat=0:peak={1000 / _WHITE:.3f},"


@dataclass(frozen=True)
class FrameFacts:
    """The first decoded frame. Colours are ffmpeg's names, `unknown` included; `start` is its time,
    in seconds from the start of the file."""

    start: float
    pixel_format: str
    width: int
    height: int
    matrix: str
    primaries: str
    transfer: str

    @property
    def has_alpha(self) -> bool:
        return self.pixel_format.startswith(_ALPHA)

    @property
    def has_known_matrix(self) -> bool:
        return self.is_rgb or self.matrix in _MATRICES | _UNTAGGED

    @property
    def is_rgb(self) -> bool:
        return self.pixel_format.startswith(("gbr", "rgb", "bgr", "argb", "abgr", "pal8"))


def read_first_frame(path: Path, codec: str, timeout: timedelta) -> FrameFacts:
    """Decode one frame of the first video track. Raises as `ffmpeg_output` does."""
    frame = tags = None
    output = "-map 0:V:0 -frames:v 1 -vf showinfo=checksum=0 -f null"
    with ffmpeg_output(path, output, timeout, codec=codec, verbose=True) as lines:
        for line in iter(partial(lines.readline, _MAX_LINE_BYTES), b""):
            frame = frame or _FRAME.match(line)
            tags = tags or _TAGS.match(line)
    if frame is None or tags is None:
        raise UnreadableMedia
    try:
        start = max(0.0, float(frame[1]))
    except ValueError:  # NOPTS
        start = 0.0
    return FrameFacts(
        start,
        frame[2].decode(),
        int(frame[3]),
        int(frame[4]),
        *(tag.decode() for tag in tags.groups()),
    )


def filters(frame: FrameFacts, shape: str) -> str:
    """Return ffmpeg filters that scale frames by `shape` and convert them to BT.709.

    Scaling comes first, since colour conversion is slow; premultiplied alpha keeps transparent
    pixels out of their neighbours.
    """
    matrix, primaries, transfer = _tags(frame)
    if frame.has_alpha:
        shape = f"format=gbrap16le,premultiply=inplace=1,{shape},unpremultiply=inplace=1"
    tags = f"setparams=color_primaries={primaries}:color_trc={transfer}"
    if not frame.is_rgb:
        tags += f":colorspace={matrix}"
    if primaries == "bt709" and transfer in _SDR:
        return f"{tags},{shape}"
    return f"{tags},{shape},{_conversion(frame, transfer)}"


def _conversion(frame: FrameFacts, transfer: str) -> str:
    planes = "gbrap" if frame.has_alpha else "gbrp"
    full = f"{planes}16le" if frame.is_rgb or frame.has_alpha else "yuv444p16le"
    return (
        f"format={full},zscale=t=linear:npl={_WHITE},format={planes}f32le,zscale=p=bt709,"
        f"{_TONE_MAP if transfer in _HDR else ''}"
        f"zscale=t=bt709:m=gbr:r=full,format={planes}"
    )


def _tags(frame: FrameFacts) -> tuple[str, str, str]:
    """Return matrix, primaries and transfer. Untagged videos count as BT.709, with the matrix of
    BT.601 below 720 rows; untagged HDR as BT.2020."""
    transfer = frame.transfer if frame.transfer in _TRANSFERS else "bt709"
    primaries = "bt2020" if transfer in _HDR else "bt709"
    if frame.primaries in _PRIMARIES:
        primaries = frame.primaries
    if frame.is_rgb:
        return "gbr", primaries, transfer
    matrix = "bt709" if frame.height >= _HD_ROWS else "smpte170m"
    if primaries == "bt2020":
        matrix = "bt2020nc"
    return frame.matrix if frame.matrix in _MATRICES else matrix, primaries, transfer
