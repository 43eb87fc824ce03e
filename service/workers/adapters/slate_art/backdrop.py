"""The slate's background for text to video: a glowing gradient and lights out of focus."""

import colorsys
from collections.abc import Callable
from math import pi, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.workers.adapters.base import Frame
from service.workers.adapters.slate_art.layer import Palette

# Added as bytes, so their sum must stay below 256.
MAX_SKY, MAX_LIGHTS, MAX_FLASH = 130, 70, 40


def backdrop(
    rng: np.random.Generator, palette: Palette, width: int, height: int
) -> Callable[[float, float], Frame]:
    """Return a function of the time in seconds and the flash, 0 to 1, that draws a new frame.

    Two images, larger than the frame, are drawn once; each frame adds a crop of both. They drift
    along different paths, which gives an impression of depth.
    """
    near, far = (round(min(width, height) * share) for share in (0.34, 0.16))
    sky = _sky(rng, palette, width + far, height + far)
    lights = _lights(rng, palette, width + near, height + near)
    phases = rng.uniform(0, 2 * pi, 4)

    def draw(seconds: float, flash: float) -> Frame:
        frame: Frame = np.add(
            _window(sky, width, height, far, seconds / 23 * 2 * pi, phases[:2]),
            _window(lights, width, height, near, seconds / 31 * 2 * pi, phases[2:]),
        )
        if flash > 0:
            frame += np.uint8(flash * MAX_FLASH)
        return frame

    return draw


def _window(
    image: Frame, width: int, height: int, margin: int, angle: float, phases: NDArray[np.float64]
) -> Frame:
    x = round(margin * (0.5 + 0.5 * sin(angle + phases[0])))
    y = round(margin * (0.5 + 0.5 * sin(angle * 0.73 + phases[1])))
    return image[y : y + height, x : x + width]


def _sky(rng: np.random.Generator, palette: Palette, width: int, height: int) -> Frame:
    """Draw a dark gradient with three wide glows."""
    size = 64
    across, down = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size))
    glow = np.zeros((size, size, 3)) + _light(palette.hues[0], 0.09, 0.45)
    for hue, corner in zip(palette.hues, rng.permutation(4), strict=False):
        x, y = corner % 2 + rng.uniform(-0.1, 0.1), corner // 2 + rng.uniform(-0.1, 0.1)
        shine = np.exp(-((across - x) ** 2 + (down - y) ** 2) / rng.uniform(0.22, 0.4))
        glow += shine[..., None] * _light(hue, 0.24, 0.6)
    # Dithering by one level hides the banding of such a dark gradient.
    dither = rng.random((height, width), dtype=np.float32) - rng.random((height, width), np.float32)
    sky = np.empty((height, width, 3), np.uint8)
    for channel in range(3):
        small = Image.fromarray((glow[..., channel] * 255).astype(np.float32))
        wide = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
        sky[..., channel] = np.clip(wide + dither, 0, MAX_SKY)
    return sky


def _lights(rng: np.random.Generator, palette: Palette, width: int, height: int) -> Frame:
    """Draw soft discs at a small size: scaling them up softens their edges."""
    scale = max(2.0, max(width, height) / 220)
    across, down = max(8, round(width / scale)), max(8, round(height / scale))
    canvas = np.zeros((down, across, 3))
    x_of, y_of = np.arange(across)[None, :], np.arange(down)[:, None]
    side = min(across, down)
    for _ in range(min(90, round(24 * across * down / side**2))):
        x, y, radius = rng.uniform(0, across), rng.uniform(0, down), side * rng.uniform(0.025, 0.12)
        far = np.hypot(x_of - x, y_of - y) / radius
        disc = np.clip((1 - far) * radius / 1.5, 0, 1) * (0.55 + 0.45 * far**3)
        hue = rng.choice(palette.hues) + rng.uniform(-0.03, 0.03)
        canvas += disc[..., None] * _light(hue, 0.6, 0.7) * rng.uniform(0.1, 0.3)
    small = Image.fromarray((np.clip(canvas * 255, 0, MAX_LIGHTS)).astype(np.uint8))
    wide = small.resize((width, height), Image.Resampling.BICUBIC)
    lights: Frame = np.minimum(np.asarray(wide), np.uint8(MAX_LIGHTS))  # bicubic overshoots
    return lights


def _light(hue: float, lightness: float, saturation: float) -> NDArray[np.float64]:
    return np.array(colorsys.hls_to_rgb(hue % 1, lightness, saturation))
