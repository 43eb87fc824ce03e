"""What an image file comes apart into, and the bounds that hold for every format."""

from dataclasses import dataclass, field

from service.media.named_colours import Colours

_MAX_PARTS = 65_536  # real files have tens to thousands; millions of empty ones would cost minutes
MAX_PROFILE_BYTES = 4_000_000  # those of printers have up to 2.5 MB


class NoImage(ValueError):
    """The bytes are no whole image: cut off, broken, or made to be costly."""


@dataclass(frozen=True)
class ImageParts:
    """One still image, and the facts of its metadata that change how it looks."""

    format: str  # as Pillow names it
    width: int
    height: int
    content: bytes = field(repr=False)  # a whole file in that format, without what unpacks
    profile: bytes | None = field(repr=False)  # ICC, not yet looked into
    exif: bytes = field(repr=False)  # empty where there is none
    colours: Colours | None = None  # where they are no sRGB, and no profile says which


def check_part(number: int, end: int, content: bytes) -> None:
    """Raises NoImage when part `number` ends behind the file, or when there are too many."""
    if end > len(content):
        raise NoImage("it is cut off")
    if number >= _MAX_PARTS:
        raise NoImage(f"it has more than {_MAX_PARTS:,} parts")
