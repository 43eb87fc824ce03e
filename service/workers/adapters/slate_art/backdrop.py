"""The slate's background: a glowing ground and lights out of focus, drifting apart."""

import colorsys
from collections.abc import Callable
from math import pi, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.workers.adapters.base import Frame
from service.workers.adapters.slate_art.layer import Palette

# Background, lights and flash are added as bytes; together they must stay below 256.
SKY_MOST, LIGHTS_MOST, FLASH_MOST = 130, 70, 40


def backdrop(
    rng: np.random.Generator, palette: Palette, width: int, height: int
) -> Callable[[float, float], Frame]:
    """A function of the time in seconds and of a flash from 0 to 1 that draws a new frame.

    Two pictures, larger than the frame, are drawn once; a frame adds a crop of each. They drift
    by different ways, which reads as depth.
    """
    near, far = (round(min(width, height) * part) for part in (0.34, 0.16))
    sky = _sky(rng, palette, width + far, height + far)
    lights = _lights(rng, palette, width + near, height + near)
    phases = rng.uniform(0, 2 * pi, 4)

    def draw(seconds: float, flash: float) -> Frame:
        frame: Frame = np.add(
            _window(sky, width, height, far, seconds / 23 * 2 * pi, phases[:2]),
            _window(lights, width, height, near, seconds / 31 * 2 * pi, phases[2:]),
        )
        if flash > 0:
            frame += np.uint8(flash * FLASH_MOST)
        return frame

    return draw


def _window(
    picture: Frame, width: int, height: int, margin: int, angle: float, phases: NDArray[np.float64]
) -> Frame:
    left = round(margin * (0.5 + 0.5 * sin(angle + phases[0])))
    top = round(margin * (0.5 + 0.5 * sin(angle * 0.73 + phases[1])))
    return picture[top : top + height, left : left + width]


def _sky(rng: np.random.Generator, palette: Palette, width: int, height: int) -> Frame:
    """A dark ground with three wide glows."""
    size = 64
    across, down = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size))
    glow = np.zeros((size, size, 3)) + _light(palette.hues[0], 0.09, 0.45)
    for hue, corner in zip(palette.hues, rng.permutation(4), strict=False):
        x, y = corner % 2 + rng.uniform(-0.1, 0.1), corner // 2 + rng.uniform(-0.1, 0.1)
        shine = np.exp(-((across - x) ** 2 + (down - y) ** 2) / rng.uniform(0.22, 0.4))
        glow += shine[..., None] * _light(hue, 0.24, 0.6)
    # A dither of one level either way hides the bands of so dark a gradient.
    dither = rng.random((height, width), dtype=np.float32) - rng.random((height, width), np.float32)
    sky = np.empty((height, width, 3), np.uint8)
    for channel in range(3):
        small = Image.fromarray((glow[..., channel] * 255).astype(np.float32))
        wide = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
        sky[..., channel] = np.clip(wide + dither, 0, SKY_MOST)
    return sky


def _lights(rng: np.random.Generator, palette: Palette, width: int, height: int) -> Frame:
    """Soft discs out of focus, drawn small: scaling up is what softens their edge."""
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
    small = Image.fromarray((np.clip(canvas * 255, 0, LIGHTS_MOST)).astype(np.uint8))
    wide = small.resize((width, height), Image.Resampling.BICUBIC)
    lights: Frame = np.minimum(np.asarray(wide), np.uint8(LIGHTS_MOST))  # bicubic overshoots
    return lights


def _light(hue: float, lightness: float, saturation: float) -> NDArray[np.float64]:
    return np.array(colorsys.hls_to_rgb(hue % 1, lightness, saturation))
