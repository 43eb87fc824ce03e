"""HEIC photos as telephones write them: tiles in HEVC, put together and turned by their index."""

import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg

Tile = tuple[bytes, bytes]  # the configuration of its decoder, and its samples
SIDE = 256


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(kind, bytes([version]) + flags.to_bytes(3, "big"), *parts)


def tile(folder: Path, colour: str, side: int = SIDE) -> Tile:
    path = folder / "tile.mp4"
    options = "-c:v libx265 -pix_fmt yuv420p -x265-params log-level=none:info=0 -tag:v hvc1"
    command = f"-v error -y -f lavfi -i color={colour}:s={side}x{side} -frames:v 1 {options}"
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([ffmpeg, *command.split(), str(path)], check=True, stdin=subprocess.DEVNULL)
    content = path.read_bytes()
    configuration, samples = content.index(b"hvcC") - 4, content.index(b"mdat") - 4
    (length,) = struct.unpack_from(">I", content, configuration)
    (size,) = struct.unpack_from(">I", content, samples)
    return content[configuration : configuration + length], content[samples + 8 : samples + size]


def nclx(primaries: int, transfer: int) -> bytes:
    return box(b"colr", b"nclx", struct.pack(">HHHB", primaries, transfer, 6, 0))


def heic(
    tiles: list[Tile],
    columns: int,
    size: tuple[int, int],
    *,
    quarter_turns: int = 0,
    colours: bytes = b"",
    codec: bytes = b"hvc1",
) -> bytes:
    """`tiles` row by row, cropped to `size`."""
    count = len(tiles)
    grid = struct.pack(">BBBBHH", 0, 0, count // columns - 1, columns - 1, *size)
    start = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    meta = _meta(tiles, grid, size, (quarter_turns, colours, codec), 0)
    place = len(start) + len(meta) + 8
    meta = _meta(tiles, grid, size, (quarter_turns, colours, codec), place)
    return start + meta + box(b"mdat", *(samples for _, samples in tiles))


def _meta(
    tiles: list[Tile],
    grid: bytes,
    size: tuple[int, int],
    looks: tuple[int, bytes, bytes],
    place: int,
) -> bytes:
    (turns, colours, codec), count, own = looks, len(tiles), len(tiles) + 1
    numbers = range(1, own)
    infe = [full(b"infe", 2, 1, struct.pack(">HH4s", n, 0, codec), b"\0") for n in numbers]
    infe.append(full(b"infe", 2, 0, struct.pack(">HH4s", own, 0, b"grid"), b"\0"))
    properties = [
        tiles[0][0],
        full(b"ispe", 0, 0, struct.pack(">II", SIDE, SIDE)),
        full(b"ispe", 0, 0, struct.pack(">II", *size)),
        box(b"irot", bytes([turns])),
        colours or box(b"free"),
    ]
    has = b"".join(struct.pack(">HBBB", n, 2, 0x81, 2) for n in numbers)
    has += struct.pack(">HBBBB", own, 3, 3, 0x84, 5)
    tiled = struct.pack(f">HH{count}H", own, count, *numbers)
    return full(
        b"meta",
        0,
        0,
        full(b"hdlr", 0, 0, bytes(4), b"pict", bytes(13)),
        full(b"pitm", 0, 0, struct.pack(">H", own)),
        full(b"iinf", 0, 0, struct.pack(">H", own), *infe),
        full(b"iref", 0, 0, box(b"dimg", tiled)),
        box(b"iprp", box(b"ipco", *properties), full(b"ipma", 0, 0, struct.pack(">I", own), has)),
        box(b"idat", grid),
        _places(tiles, grid, place),
    )


def _places(tiles: list[Tile], grid: bytes, place: int) -> bytes:
    rows = b""
    for number, (_, samples) in enumerate(tiles, start=1):
        rows += struct.pack(">HHHHII", number, 0, 0, 1, place, len(samples))
        place += len(samples)
    rows += struct.pack(">HHHHII", len(tiles) + 1, 1, 0, 1, 0, len(grid))
    return full(b"iloc", 1, 0, b"\x44\0", struct.pack(">H", len(tiles) + 1), rows)
