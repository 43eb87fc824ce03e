"""The slate's clapstick: flat on the board, or rotated about its hinge."""

from math import ceil, cos, radians, sin

import numpy as np
from PIL import Image, ImageDraw

from service.workers.adapters.slate_art.layer import FACE, INK, RULE, Colour, Layer, layers

SUPERSAMPLING = 2  # shapes are drawn this much larger and scaled down, to smooth their edges
OPEN_DEGREES = 8.5


def draw_stick(length: int, thick: int, accent: Colour, *, lean: int) -> Image.Image:
    """Draw a stick SUPERSAMPLING times larger; `lean` is 1 or -1, the slant of its stripes."""
    width, height = length * SUPERSAMPLING, thick * SUPERSAMPLING
    image = Image.new("RGB", (width, height), FACE)
    draw = ImageDraw.Draw(image)
    # Whole stripes only, from behind the hinge to just before the end.
    first, last = height * 1.2, width - height * 2.3
    for x in np.linspace(first, last, round((last - first) / (2 * height)) + 1):
        top, foot = (x + height, x) if lean > 0 else (x, x + height)
        draw.polygon([(top, 0), (top + height, 0), (foot + height, height), (foot, height)], INK)
    if height >= 10 * SUPERSAMPLING:
        middle = (height / 2, height / 2)
        draw.circle(middle, height * 0.18, accent)
        draw.circle(middle, height * 0.07, FACE)
    return image


def cut_out_stick(stick: Image.Image) -> Image.Image:
    """Return `stick` (RGBa) with rounded corners and a transparent border to blend into."""
    mask = Image.new("L", stick.size)
    box, radius = (0, 0, stick.width - 1, stick.height - 1), stick.height // 7
    ImageDraw.Draw(stick).rounded_rectangle(box, radius, outline=RULE, width=SUPERSAMPLING)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius, fill=255)
    image = Image.new("RGBA", (stick.width + 2 * SUPERSAMPLING, stick.height + 2 * SUPERSAMPLING))
    image.paste(stick, (SUPERSAMPLING, SUPERSAMPLING), mask)
    return image.convert("RGBa")


def rotate_stick(stick: Image.Image, x_left: int, foot: int, openness: float) -> Layer:
    """Place a cut-out stick with its lower left corner at (`x_left`, `foot`), opened by 0 to 1."""
    length, thick = stick.width // SUPERSAMPLING - 2, stick.height // SUPERSAMPLING - 2
    angle = radians(OPEN_DEGREES * openness)
    rise = ceil(sin(angle) * length)
    edge = 2 + thick // 8  # the corner behind the hinge goes below the foot
    x, y = thick / 2 + edge, thick / 2 + edge + rise  # the hinge in the new image
    hinge = (thick / 2 + 1) * SUPERSAMPLING  # and in `stick`, in both axes
    along, across = cos(angle) * SUPERSAMPLING, sin(angle) * SUPERSAMPLING
    # Maps a pixel of the new image to its source pixel in `stick`.
    back = (
        *(along, -across, hinge - along * x + across * y),
        *(across, along, hinge - across * x - along * y),
    )
    size = (length + 2 * edge, thick + rise + 2 * edge)
    image = stick.transform(size, Image.Transform.AFFINE, back, Image.Resampling.BILINEAR)
    return layers(image, foot - thick - rise - edge, x_left - edge)[0]
