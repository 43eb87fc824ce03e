"""Decode HEIC and AVIF with ffmpeg, isolating untrusted data in a separate process."""

from datetime import timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from service.media.heif import HeifParts
from service.media.image_parts import InvalidImage
from service.workers.stages.inputs.ffmpeg import ffmpeg_output

_TIMEOUT = timedelta(seconds=60)
# Address space: each of a photo's hundred tiles has a decoder with a thread. The largest allowed
# photo needs a tenth of it.
_MAX_MEMORY_BYTES = 3 << 30
_WRONG_SIZE = "its size differs from its header"


def read_photo(path: Path, parts: HeifParts) -> Image.Image:
    """Decode a photo upright to RGB or RGBA in its own colours. Raises InvalidImage, and as
    `ffmpeg_output` does."""
    width, height = (parts.height, parts.width) if parts.is_rotated else (parts.width, parts.height)
    channels = 3 if parts.alpha is None or parts.is_grid else 4
    size = width * height * channels
    with ffmpeg_output(
        path, _output(parts, channels), _TIMEOUT, max_memory_bytes=_MAX_MEMORY_BYTES
    ) as pixels:
        content = pixels.read(size + 1)
        if len(content) > size:  # ffmpeg would wait for a reader of the rest
            raise InvalidImage(_WRONG_SIZE)
    if len(content) < size:
        raise InvalidImage(_WRONG_SIZE)
    frame = np.frombuffer(content, np.uint8).reshape(height, width, channels)
    return Image.fromarray(frame)


def _output(parts: HeifParts, channels: int) -> str:
    """Build the output options; without a mapping, ffmpeg assembles the tiles of a grid."""
    if channels == 4:
        mapping = f"-filter_complex [0:i:{parts.item}][0:i:{parts.alpha}]alphamerge"
    else:
        mapping = "" if parts.is_grid else f"-map 0:i:{parts.item}"
    return f"{mapping} -frames:v 1 -f rawvideo -pix_fmt {'rgba' if channels == 4 else 'rgb24'}"
