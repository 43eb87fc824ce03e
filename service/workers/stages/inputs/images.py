"""An image from a stranger becomes plain RGB, or is refused with a reason."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile

from service.domain.attempt import AttemptFailed, FailureKind
from service.media import heif
from service.media.exif import orientation
from service.media.image_parts import ImageParts, NoImage
from service.media.named_colours import Colours
from service.workers.stages.inputs import jpeg, png, webp
from service.workers.stages.inputs.ffmpeg import UnreadableMedia
from service.workers.stages.inputs.photos import read_photo
from service.workers.stages.inputs.srgb import to_srgb

# EXIF's orientations 2 to 8, and what turns each upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


_WIDE = ("RGB;16B", "RGBA;16B")  # Pillow's names for 16 bits a channel


def read_image(
    path: Path, *, max_pixels: int = 24_000_000, max_bytes: int = 32_000_000
) -> Image.Image:
    """The PNG, JPEG, WebP, HEIC or AVIF in `path` as 8-bit sRGB without metadata, upright.

    Transparent parts lie over white. Of an animation the first frame is taken (of an APNG its still
    picture). An embedded ICC profile is followed unless it is broken, huge or of another colour
    space, and so are PNG's cICP, gAMA and cHRM in their order of precedence; else the numbers count
    as sRGB. 16 bits a channel become the upper 8, and there a colour that stands for transparent is
    an ordinary one.

    The first bytes decide the format, never a name. Raises AttemptFailed (user): `image_too_large`
    (bytes or pixels, both judged before decoding), `image_format`, `image_unreadable` (cut off or
    broken). Whatever the bytes, nothing else is raised, and at the default bounds less than 600 MB
    are needed.
    """
    content = _content(path, max_bytes)
    if heif.media_type(content[:16]) is not None:
        return _rgb(*_photo(path, content, max_pixels))
    parts = _parts(content)
    _check_pixels(parts.width, parts.height, max_pixels)
    picture = _rgb(_decoded(parts), parts)
    turn = _UPRIGHT.get(orientation(parts.exif))
    return picture if turn is None else picture.transpose(turn)


def _content(path: Path, max_bytes: int) -> bytes:
    size_bytes = path.stat().st_size
    if size_bytes > max_bytes:
        raise _refused("too_large", f"has {size_bytes:,} bytes; at most {max_bytes:,} are taken")
    return path.read_bytes()


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        size = f"{width}x{height}"
        raise _refused("too_large", f"is {size}; at most {max_pixels:,} pixels are taken")


def _photo(path: Path, content: bytes, max_pixels: int) -> tuple[Image.Image, ImageParts]:
    """A HEIC or AVIF upright, as `photos` decodes it, and what its numbers mean."""
    try:
        parts = heif.take_apart(content)
        _check_pixels(parts.width, parts.height, max_pixels)
        image = read_photo(path, parts)
    except (NoImage, UnreadableMedia) as error:
        why = str(error) or "it is cut off, broken or of an unusual kind"
        raise _refused("unreadable", f"cannot be read: {why}; give it as JPEG") from None
    plain = ImageParts("HEIF", *image.size, b"", parts.profile, b"", parts.colours)
    return image, plain


def _parts(content: bytes) -> ImageParts:
    try:
        if content.startswith(png.START):
            return png.take_apart(content)
        if content.startswith(jpeg.START):
            return jpeg.take_apart(content)
        if webp.starts(content):
            return webp.take_apart(content)
    except NoImage as error:
        raise _refused("unreadable", f"cannot be read: {error}") from error
    raise _refused("format", "is neither PNG, JPEG, WebP, HEIC nor AVIF")


def _decoded(parts: ImageParts) -> Image.Image:
    try:
        image = _opened(parts)
        if image.size != (parts.width, parts.height):
            raise NoImage("its size is not the one that was judged")
        image.load()
    except MemoryError:
        raise  # no fault of the image, whose size was judged
    except Exception as error:  # Pillow's decoders raise a dozen kinds
        raise _refused("unreadable", f"cannot be read: {error}") from error
    return image


def _rgb(image: Image.Image, parts: ImageParts) -> Image.Image:
    """Over white; a fresh image, so that none of the old one's `info` comes along."""
    opaque = None if parts.colours is None else _in_srgb(image, parts, parts.colours)
    if image.mode == "I;16":  # Pillow would cut off all above 255 instead
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    flat = Image.new("RGB", image.size, "white")
    flat.paste(opaque or _srgb(image, parts.profile), mask=alpha)
    return flat


def _in_srgb(image: Image.Image, parts: ImageParts, colours: Colours) -> Image.Image:
    """Opaque, from colours that are named and no profile's; of 16 bits all count."""
    if image.mode == "I;16":
        pixels = np.repeat(np.asarray(image)[..., None], 3, axis=2)
    elif parts.format == "PNG" and (wide := _opened(parts).tile[0].args) in _WIDE:
        pixels = _of_16_bits(image, parts, str(wide))
    else:
        pixels = np.asarray(image.convert("RGB"))
    return Image.fromarray(to_srgb(pixels, colours))


def _of_16_bits(image: Image.Image, parts: ImageParts, raw_mode: str) -> NDArray[np.uint16]:
    """Pillow keeps the upper byte of each sample: read in the other order, that is the lower."""
    pixels = np.empty((image.height, image.width, 3), np.dtype("<u2"))
    both = pixels.view(np.uint8).reshape(*pixels.shape, 2)
    both[..., 1] = np.asarray(image.convert("RGB"))
    lower = _opened(parts)
    lower.tile = [tile._replace(args=raw_mode.removesuffix("B") + "L") for tile in lower.tile]
    both[..., 0] = np.asarray(lower.convert("RGB"))
    return pixels


def _opened(parts: ImageParts) -> ImageFile.ImageFile:
    return Image.open(BytesIO(parts.content), formats=[parts.format])


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Opaque, in the colours that `profile` means."""
    if image.mode not in ("L", "CMYK"):
        image = image.convert("RGB")
    if profile is not None:
        try:
            given = ImageCms.ImageCmsProfile(BytesIO(profile))
            ours = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, given, ours, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            converted = None
        image = converted or image
    return image.convert("RGB")


def _refused(code: str, what: str) -> AttemptFailed:
    return AttemptFailed(FailureKind.USER, f"image_{code}", f"the image {what}")
