"""HEIC and AVIF by ffmpeg: a process of its own, so that what is hidden inside costs only that."""

from datetime import timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from service.media.heif import HeifParts
from service.media.image_parts import NoImage
from service.workers.stages.inputs.ffmpeg import reading

_TIMEOUT = timedelta(seconds=60)
# Addresses: each of the hundred tiles of a photo has a decoder and its thread. The largest that is
# taken needs a tenth of it.
_MAX_MEMORY_BYTES = 3 << 30


def read_photo(path: Path, parts: HeifParts) -> Image.Image:
    """Upright, RGB or RGBA, in its own colours. Raises NoImage, and Unread as `reading` does."""
    width, height = (parts.height, parts.width) if parts.turned else (parts.width, parts.height)
    channels = 3 if parts.alpha is None or parts.is_grid else 4
    with reading(path, _output(parts, channels), _TIMEOUT, max_memory_bytes=_MAX_MEMORY_BYTES) as (
        pixels
    ):
        content = pixels.read(width * height * channels + 1)
    if len(content) != width * height * channels:
        raise NoImage("its size is not the one that was judged")
    frame = np.frombuffer(content, np.uint8).reshape(height, width, channels)
    return Image.fromarray(frame)


def _output(parts: HeifParts, channels: int) -> str:
    """ffmpeg puts a grid together by itself where it is not told what to take."""
    if channels == 4:
        chosen = f"-filter_complex [0:i:{parts.item}][0:i:{parts.alpha}]alphamerge"
    else:
        chosen = "" if parts.is_grid else f"-map 0:i:{parts.item}"
    return f"{chosen} -frames:v 1 -f rawvideo -pix_fmt {'rgba' if channels == 4 else 'rgb24'}"
