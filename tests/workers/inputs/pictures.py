"""Real image files, and small ones that are made to cost much."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# A profile in which red means green and green means red.
EXCHANGED = SRGB.replace(b"rXYZ", b"____").replace(b"gXYZ", b"rXYZ").replace(b"____", b"gXYZ")

PNG = b"\x89PNG\r\n\x1a\n"


def gradient(mode: str = "RGB", size: tuple[int, int] = (48, 32)) -> Image.Image:
    """No two corners are alike."""
    across, down = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    pixels = np.stack([across, down, (255 - across) / 2, 255 - down / 2], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """One of a PNG."""
    sum_ = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + sum_


def header(width: int, height: int, bits: int = 8, colours: int = 2) -> bytes:
    """The first chunk of a PNG."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0))


def png(width: int, height: int, *extra: bytes) -> bytes:
    """A PNG of black pixels, as small as it can be, with `extra` before them."""
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(bytes(1 + 3 * width)) for _ in range(min(height, 100)))
    body = chunk(b"IDAT", pixels + packer.flush())
    return PNG + header(width, height) + b"".join(extra) + body + chunk(b"IEND", b"")


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP file."""
    parts = [k + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for k, b in chunks]
    content = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def segment(marker: int, body: bytes) -> bytes:
    """One of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def resized_jpeg(width: int, height: int) -> bytes:
    """A JPEG that claims another size than it has."""
    content = bytearray(saved(gradient(), "JPEG"))
    struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, height, width)
    return bytes(content)


def bombs() -> dict[str, bytes]:
    """Files of at most some MB which a plain `Image.open(...).load()` pays for in gigabytes, or in
    minutes."""
    megabyte = zlib.compress(bytes(1_000_000), 9)
    wide = zlib.compress("\N{PILE OF POO}".encode() * 250_000, 9)
    jpeg = saved(gradient(), "JPEG", progressive=True)
    canvas = b"\0\0\0\0" + (16_382).to_bytes(3, "little") * 2
    return {
        "pixels.png": png(50_000, 50_000),
        "pixels.jpg": resized_jpeg(65_500, 65_500),
        "pixels.webp": riff((b"VP8X", canvas), (b"VP8L", b"\x2f" + bytes(9))),
        "second_header.png": png(8, 8, header(50_000, 50_000)),
        "ztxt.png": png(8, 8, *[chunk(b"zTXt", b"%d\0\0" % n + megabyte) for n in range(64)]),
        "itxt.png": png(8, 8, *[chunk(b"iTXt", b"%d\0\1\0\0\0" % n + wide) for n in range(64)]),
        "iccp.png": png(8, 8, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(100_000_000), 9))),
        "parts.png": png(8, 8, *[chunk(b"tEXt", b"a\0b")] * 300_000),
        "parts.jpg": jpeg[:2] + segment(0xE5, b"") * 1_000_000 + jpeg[2:],
        "parts.webp": riff(*[(b"ABCD", b"")] * 500_000),
    }
