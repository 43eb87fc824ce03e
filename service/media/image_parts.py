"""A parsed image file, and the limits that hold for every format."""

from dataclasses import dataclass, field

from service.media.named_colours import Colours

_MAX_PARTS = 65_536  # real files have up to thousands; millions of empty ones would take minutes
MAX_PROFILE_BYTES = 4_000_000  # printer profiles have up to 2.5 MB


class InvalidImage(ValueError):
    """The bytes are not a complete image, or one made to be expensive to decode."""


@dataclass(frozen=True)
class ImageParts:
    """One still image, and its metadata that changes how it looks."""

    format: str  # Pillow's name
    width: int
    height: int
    content: bytes = field(repr=False)  # a whole file in that format, without compressed metadata
    profile: bytes | None = field(repr=False)  # ICC, not yet parsed
    exif: bytes = field(repr=False)  # empty if there is none
    colours: Colours | None = None  # if they are not sRGB and there is no profile


def check_part(number: int, end: int, content: bytes) -> None:
    """Raise InvalidImage when part `number` ends after the file, or when there are too many."""
    if end > len(content):
        raise InvalidImage("it is truncated")
    if number >= _MAX_PARTS:
        raise InvalidImage(f"it has more than {_MAX_PARTS:,} parts")
