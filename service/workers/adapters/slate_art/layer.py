"""The slate's colours, and layers that are drawn on frames."""

import colorsys
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.workers.adapters.base import Frame

Colour: TypeAlias = tuple[int, int, int]

INK: Colour = (243, 240, 233)
FACE: Colour = (23, 24, 30)
WELL: Colour = (14, 15, 19)
RULE: Colour = (54, 56, 66)
MUTED: Colour = (146, 149, 162)


@dataclass(frozen=True)
class Palette:
    """Three matching hues, 0 to 1, and a contrasting accent."""

    hues: tuple[float, float, float]
    accent: Colour


@dataclass(frozen=True)
class Layer:
    """An image prepared for drawing on frames at one position.

    `colour` is premultiplied by alpha and by 256; `rest` is the transparency, 0 to 256, or None for
    an opaque image.
    """

    top: int
    left: int
    colour: NDArray[np.uint16] | Frame
    rest: NDArray[np.uint16] | None

    def draw_on(self, frame: Frame) -> None:
        height, width = self.colour.shape[:2]
        view = frame[self.top : self.top + height, self.left : self.left + width]
        if self.rest is None:
            view[...] = self.colour
            return
        levels = view * self.rest
        levels += self.colour
        levels >>= 8
        view[...] = levels


def make_palette(rng: np.random.Generator) -> Palette:
    hue = rng.random()
    spread = rng.uniform(0.07, 0.16) * rng.choice([-1, 1])
    red, green, blue = colorsys.hls_to_rgb((hue + 0.5 + spread) % 1, 0.68, 0.9)
    accent = (round(red * 255), round(green * 255), round(blue * 255))
    return Palette((hue, hue + spread, hue - spread * 0.8), accent)


def layers(image: Image.Image, top: int, x: int, opaque: int = 0) -> list[Layer]:
    """Split `image` (RGBa) into layers; from `opaque` pixels inwards it is copied, not blended."""
    height, width = image.height, image.width
    if not opaque or 2 * opaque >= min(width, height):
        return [_blended_layer(image, top, x)]
    inner = (opaque, opaque, width - opaque, height - opaque)
    edges = (
        (0, 0, width, opaque),
        (0, height - opaque, width, height),
        (0, opaque, opaque, height - opaque),
        (width - opaque, opaque, width, height - opaque),
    )
    middle = np.asarray(image.crop(inner))[..., :3].copy()
    return [
        Layer(top + opaque, x + opaque, middle, None),
        *(_blended_layer(image.crop(edge), top + edge[1], x + edge[0]) for edge in edges),
    ]


def _blended_layer(image: Image.Image, top: int, x: int) -> Layer:
    pixels = np.asarray(image).astype(np.uint16)
    alpha = pixels[..., 3:]
    # Out of 256, while alpha is out of 255: adding its top bit makes 255 fully opaque.
    rest = np.subtract(256, alpha + (alpha >> 7), dtype=np.uint16)
    return Layer(top, x, pixels[..., :3] * np.uint16(256), np.repeat(rest, 3, axis=2))
