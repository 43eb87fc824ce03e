"""The slate's colours, and pictures laid over frames."""

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
    """Three hues that go together, 0 to 1, and the accent that stands out from them."""

    hues: tuple[float, float, float]
    accent: Colour


@dataclass(frozen=True)
class Layer:
    """A picture ready to be laid over frames at one place.

    `colour` is premultiplied by alpha and by 256; `rest` is what shows through, of 256, or None
    where nothing does.
    """

    top: int
    left: int
    colour: NDArray[np.uint16] | Frame
    rest: NDArray[np.uint16] | None

    def over(self, frame: Frame) -> None:
        height, width = self.colour.shape[:2]
        view = frame[self.top : self.top + height, self.left : self.left + width]
        if self.rest is None:
            view[...] = self.colour
            return
        mixed = view * self.rest
        mixed += self.colour
        mixed >>= 8
        view[...] = mixed


def make_palette(rng: np.random.Generator) -> Palette:
    hue = rng.random()
    spread = rng.uniform(0.07, 0.16) * rng.choice([-1, 1])
    red, green, blue = colorsys.hls_to_rgb((hue + 0.5 + spread) % 1, 0.68, 0.9)
    accent = (round(red * 255), round(green * 255), round(blue * 255))
    return Palette((hue, hue + spread, hue - spread * 0.8), accent)


def layers(picture: Image.Image, top: int, left: int, opaque: int = 0) -> list[Layer]:
    """`picture` (RGBa) as layers. Its middle is copied, not mixed, from `opaque` pixels inwards."""
    height, width = picture.height, picture.width
    if not opaque or 2 * opaque >= min(width, height):
        return [_mixed(picture, top, left)]
    inner = (opaque, opaque, width - opaque, height - opaque)
    edges = (
        (0, 0, width, opaque),
        (0, height - opaque, width, height),
        (0, opaque, opaque, height - opaque),
        (width - opaque, opaque, width, height - opaque),
    )
    middle = np.asarray(picture.crop(inner))[..., :3].copy()
    return [
        Layer(top + opaque, left + opaque, middle, None),
        *(_mixed(picture.crop(edge), top + edge[1], left + edge[0]) for edge in edges),
    ]


def _mixed(picture: Image.Image, top: int, left: int) -> Layer:
    pixels = np.asarray(picture).astype(np.uint16)
    alpha = pixels[..., 3:]
    # Of 256, where alpha is of 255: its last bit is added so that opaque shows nothing through.
    rest = np.subtract(256, alpha + (alpha >> 7), dtype=np.uint16)
    return Layer(top, left, pixels[..., :3] * np.uint16(256), np.repeat(rest, 3, axis=2))
