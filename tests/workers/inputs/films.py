"""Real sound and video files, and ways to make them lie."""

import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg

_SOUND = "-f lavfi -i sine=frequency=440:duration=2"
_FILM = "-f lavfi -i testsrc=size=128x64:rate=12:duration=2"
_H264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
RECIPES = {
    "sound.wav": _SOUND,
    "sound.mp3": _SOUND,
    "sound.m4a": _SOUND,
    "sound.flac": _SOUND,
    "sound.ogg": _SOUND,
    "sound.opus": f"{_SOUND} -c:a libopus -f ogg",
    "film.mp4": f"{_FILM} {_SOUND} {_H264}",
    "silent.mp4": f"{_FILM} {_H264}",
    "quick.mp4": f"-f lavfi -i testsrc=size=64x64:rate=120:duration=1 {_H264}",
    "film.mov": f"{_FILM} {_SOUND} {_H264}",
    "film.webm": f"{_FILM} {_SOUND} -c:v libvpx -c:a libopus",
    "sound.aac": f"{_SOUND} -f adts",
    "sound.aiff": f"{_SOUND} -ac 2",
    "sound.caf": f"{_SOUND} -c:a alac",
    "sound.amr": f"{_SOUND} -ar 8000 -ac 1 -c:a libopencore_amrnb",
    "sound.wma": f"{_SOUND} -c:a wmav2",
    "telephone.wav": f"{_SOUND} -c:a adpcm_ms",
    "surround.m4a": f"{_SOUND} -ac 6",
    "surround.mkv": f"{_SOUND} -ac 6 -c:a ac3",
    "sixteen.wav": f"{_SOUND} -af pan=16c|" + "|".join(f"c{n}=c0" for n in range(16)),
    "twenty.wav": f"{_SOUND} -af pan=20C|" + "|".join(f"c{n}=c0" for n in range(20)),
    "rare.au": _SOUND,
    "rare.wav": f"{_SOUND} -c:a adpcm_yamaha",
    "cover.mp3": f"{_SOUND} {_FILM} -map 0 -map 1 -frames:v 1 -c:v mjpeg -pix_fmt yuvj420p "
    "-disposition:v attached_pic",
}


def make(name: str, folder: Path) -> Path:
    """One of RECIPES, in `folder`."""
    path = folder / name
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *f"-v error -y {RECIPES[name]}".split(), str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def with_numbers(content: bytes, box: bytes, offset: int, *numbers: int) -> bytes:
    """With 32-bit numbers written over every `box` of an MP4, `offset` bytes after its version."""
    changed = bytearray(content)
    place = -1
    while (place := changed.find(box, place + 1)) >= 0:
        struct.pack_into(f">{len(numbers)}I", changed, place + 8 + offset, *numbers)
    return bytes(changed)


def without(content: bytes, *boxes: bytes) -> bytes:
    """With some boxes of an MP4 blotted out."""
    for box in boxes:
        content = content.replace(box, b"free")
    return content


def pointing_at(content: bytes, target: Path) -> bytes:
    """A QuickTime film whose first track says that its data is in the file `target`."""
    name = str(target).encode()
    alias = struct.pack(">10xB27s12xB63s16xhh16x", 1, b"v", 1, b"x", 0, 0)
    alias += struct.pack(">hH", 2, len(name)) + name + b"\0" * (len(name) % 2) + b"\xff\xff\0\0"
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    place = content.index(b"dref") - 4
    (old,) = struct.unpack_from(">I", content, place)
    new = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    changed = bytearray(content[:place] + new + content[place + old :])
    for outer in (b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        above = content.rindex(outer, 0, place) - 4
        (size,) = struct.unpack_from(">I", changed, above)
        struct.pack_into(">I", changed, above, size + len(new) - old)
    return bytes(changed)
