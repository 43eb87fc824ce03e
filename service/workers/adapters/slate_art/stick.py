"""The slate's clapstick: laid along the board, or turned about its hinge."""

from math import ceil, cos, radians, sin

import numpy as np
from PIL import Image, ImageDraw

from service.workers.adapters.slate_art.layer import FACE, INK, RULE, Colour, Layer, layers

FINE = 2  # shapes are drawn this much larger and scaled down, which smooths their edges
OPEN_DEGREES = 8.5


def striped(length: int, thick: int, accent: Colour, *, lean: int) -> Image.Image:
    """A stick FINE times larger; `lean` is 1 or -1, the way its stripes slant."""
    width, height = length * FINE, thick * FINE
    picture = Image.new("RGB", (width, height), FACE)
    draw = ImageDraw.Draw(picture)
    # Whole stripes only, from behind the hinge to just before the end.
    first, last = height * 1.2, width - height * 2.3
    for left in np.linspace(first, last, round((last - first) / (2 * height)) + 1):
        top, foot = (left + height, left) if lean > 0 else (left, left + height)
        draw.polygon([(top, 0), (top + height, 0), (foot + height, height), (foot, height)], INK)
    if height >= 10 * FINE:
        middle = (height / 2, height / 2)
        draw.circle(middle, height * 0.18, accent)
        draw.circle(middle, height * 0.07, FACE)
    return picture


def loose(stick: Image.Image) -> Image.Image:
    """`stick` (RGBa) with rounded corners, in a border of FINE clear pixels to blend into."""
    mask = Image.new("L", stick.size)
    box, radius = (0, 0, stick.width - 1, stick.height - 1), stick.height // 7
    ImageDraw.Draw(stick).rounded_rectangle(box, radius, outline=RULE, width=FINE)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius, fill=255)
    picture = Image.new("RGBA", (stick.width + 2 * FINE, stick.height + 2 * FINE))
    picture.paste(stick, (FINE, FINE), mask)
    return picture.convert("RGBa")


def turned(stick: Image.Image, left: int, foot: int, openness: float) -> Layer:
    """A loose stick with its lower left corner at (`left`, `foot`), opened by 0 to 1."""
    length, thick = stick.width // FINE - 2, stick.height // FINE - 2
    angle = radians(OPEN_DEGREES * openness)
    rise = ceil(sin(angle) * length)
    edge = 2 + thick // 8  # the corner behind the hinge dips below the foot
    x, y = thick / 2 + edge, thick / 2 + edge + rise  # the hinge in the new picture
    hinge = (thick / 2 + 1) * FINE  # and, both ways, in `stick`
    along, across = cos(angle) * FINE, sin(angle) * FINE
    # From a pixel of the new picture back to the one of `stick` that lands on it.
    back = (
        *(along, -across, hinge - along * x + across * y),
        *(across, along, hinge - across * x - along * y),
    )
    size = (length + 2 * edge, thick + rise + 2 * edge)
    picture = stick.transform(size, Image.Transform.AFFINE, back, Image.Resampling.BILINEAR)
    return layers(picture, foot - thick - rise - edge, left - edge)[0]
