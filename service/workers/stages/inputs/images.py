"""Decode an untrusted image to plain RGB, or raise AttemptFailed with the reason."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile

from service.domain.attempt import AttemptFailed, FailureKind
from service.media import heif
from service.media.exif import read_orientation
from service.media.image_parts import ImageParts, InvalidImage
from service.media.named_colours import Colours
from service.workers.stages.inputs import jpeg, png, webp
from service.workers.stages.inputs.ffmpeg import UnreadableMedia
from service.workers.stages.inputs.photos import read_photo
from service.workers.stages.inputs.srgb import to_srgb

# EXIF orientations 2 to 8 with their correction.
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
    """Read a PNG, JPEG, WebP, HEIC or AVIF as 8-bit sRGB without metadata, upright.

    Transparency is blended over white. Of an animation the first frame is read (of an APNG its
    still image). A valid ICC profile is applied unless it is huge or of another colour space, and
    so are PNG's cICP, gAMA and cHRM in their order of precedence; else sRGB is assumed. 16 bits a
    channel are reduced to the upper 8, where a transparent colour counts as opaque.

    The first bytes decide the format, never the name. Raises AttemptFailed (user):
    `image_too_large` (bytes or pixels, both checked before decoding), `image_format`,
    `image_unreadable` (truncated or broken). Nothing else is raised for any bytes, and at the
    default limits less than 600 MB are needed.
    """
    content = _read_bytes(path, max_bytes)
    if heif.media_type(content[:16]) is not None:
        return _to_rgb(*_read_heif(path, content, max_pixels))
    parts = _parse(content)
    _check_pixels(parts.width, parts.height, max_pixels)
    image = _to_rgb(_decode(parts), parts)
    rotation = _UPRIGHT.get(read_orientation(parts.exif))
    return image if rotation is None else image.transpose(rotation)


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    size_bytes = path.stat().st_size
    if size_bytes > max_bytes:
        raise _refused(
            "too_large", f"has {size_bytes:,} bytes; the limit is {max_bytes:,}: send a smaller one"
        )
    return path.read_bytes()


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        size = f"{width}x{height}"
        raise _refused(
            "too_large", f"is {size}; the limit is {max_pixels:,} pixels: send a smaller one"
        )


def _read_heif(path: Path, content: bytes, max_pixels: int) -> tuple[Image.Image, ImageParts]:
    """Decode a HEIC or AVIF upright, and return it with its profile and colours."""
    try:
        parts = heif.parse(content)
        _check_pixels(parts.width, parts.height, max_pixels)
        image = read_photo(path, parts)
    except (InvalidImage, UnreadableMedia) as error:
        reason = str(error) or "it is truncated, broken or of an unsupported kind"
        raise _refused("unreadable", f"cannot be read: {reason}; convert it to JPEG") from None
    metadata = ImageParts("HEIF", *image.size, b"", parts.profile, b"", parts.colours)
    return image, metadata


def _parse(content: bytes) -> ImageParts:
    try:
        if content.startswith(png.START):
            return png.parse(content)
        if content.startswith(jpeg.START):
            return jpeg.parse(content)
        if webp.matches(content):
            return webp.parse(content)
    except InvalidImage as error:
        raise _refused("unreadable", f"cannot be read: {error}; send it whole") from error
    raise _refused("format", "is neither PNG, JPEG, WebP, HEIC nor AVIF; send one of those")


def _decode(parts: ImageParts) -> Image.Image:
    try:
        image = _open(parts)
        if image.size != (parts.width, parts.height):
            raise InvalidImage("its size differs from its header")
        image.load()
    except MemoryError:
        raise  # not the image's fault: its size was checked
    except Exception as error:  # Pillow's decoders raise many types
        raise _refused("unreadable", f"cannot be read: {error}; send it whole") from error
    return image


def _to_rgb(image: Image.Image, parts: ImageParts) -> Image.Image:
    """Convert to sRGB over white, in a new image without the `info` of the old one."""
    opaque = None if parts.colours is None else _convert_colours(image, parts, parts.colours)
    if image.mode == "I;16":  # Pillow would clip all values above 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    flat = Image.new("RGB", image.size, "white")
    flat.paste(opaque or _apply_profile(image, parts.profile), mask=alpha)
    return flat


def _convert_colours(image: Image.Image, parts: ImageParts, colours: Colours) -> Image.Image:
    """Convert coded colours to sRGB, with the precision of 16 bits a channel if there are any."""
    if image.mode == "I;16":
        pixels = np.repeat(np.asarray(image)[..., None], 3, axis=2)
    elif parts.format == "PNG" and (mode := _open(parts).tile[0].args) in _WIDE:
        pixels = _read_16_bits(image, parts, str(mode))
    else:
        pixels = np.asarray(image.convert("RGB"))
    return Image.fromarray(to_srgb(pixels, colours))


def _read_16_bits(image: Image.Image, parts: ImageParts, raw_mode: str) -> NDArray[np.uint16]:
    """Read both bytes of each sample: Pillow reads only the upper one, or the lower if swapped."""
    pixels = np.empty((image.height, image.width, 3), np.dtype("<u2"))
    both = pixels.view(np.uint8).reshape(*pixels.shape, 2)
    both[..., 1] = np.asarray(image.convert("RGB"))
    lower = _open(parts)
    lower.tile = [tile._replace(args=raw_mode.removesuffix("B") + "L") for tile in lower.tile]
    both[..., 0] = np.asarray(lower.convert("RGB"))
    return pixels


def _open(parts: ImageParts) -> ImageFile.ImageFile:
    return Image.open(BytesIO(parts.content), formats=[parts.format])


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB by the ICC profile; ignore a profile that does not apply."""
    if image.mode not in ("L", "CMYK"):
        image = image.convert("RGB")
    if profile is not None:
        with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            image = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB") or image
    return image.convert("RGB")


def _refused(code: str, reason: str) -> AttemptFailed:
    return AttemptFailed(FailureKind.USER, f"image_{code}", f"the image {reason}")
