"""The pictures that go with a video: a small one to show, the last frame to go on from."""

from pathlib import Path

from PIL import Image

from service.workers.adapters.base import Frame

_THUMBNAIL_SIDE = 512


def write_thumbnail(frame: Frame, target: Path) -> None:
    """A JPEG of at most 512 pixels a side."""
    picture = Image.fromarray(frame)
    picture.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    picture.save(target, "JPEG", quality=85)


def write_last_frame(frame: Frame, target: Path) -> None:
    """A PNG of the whole frame: lossless, since the next clip may start from it."""
    Image.fromarray(frame).save(target, "PNG", compress_level=3)
