"""Convert pixels of still images from other colours to sRGB."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.media.named_colours import BT709, HLG, PQ, Colours

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Light = NDArray[np.float32]  # linear; 1 is white

# As for videos: diffuse white is 203 cd/m², and brighter light is compressed into the top levels.
_WHITE, _PEAK, _KNEE = 203.0, 1000.0 / 203.0, 0.85
_ROWS = 64  # per block, to limit memory
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def to_srgb(pixels: Pixels, colours: Colours) -> NDArray[np.uint8]:
    """Convert an image (height, width, 3) to sRGB, with tone mapping if it is HDR."""
    decode, matrix, encode = _decoder(pixels, colours), _matrix(colours.primaries), _encoder()
    out = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), _ROWS):
        part = decode(pixels[top : top + _ROWS])
        light = (part.reshape(-1, 3) @ matrix.T).reshape(part.shape)
        if colours.is_hdr:
            light = _tone_map(light)
        out[top : top + _ROWS] = encode[(light.clip(0, 1) * (len(encode) - 1)).astype(np.uint16)]
    return out


def is_colour_space(primaries: tuple[float, ...]) -> bool:
    """Check that these eight coordinates form a colour space."""
    try:
        return bool(np.isfinite(_matrix(primaries)).all())
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return False


def _decoder(pixels: Pixels, colours: Colours) -> Callable[[Pixels], Light]:
    values = np.linspace(0, 1, np.iinfo(pixels.dtype).max + 1)
    if colours.transfer == PQ:
        table = _pq(values)
    elif colours.transfer == HLG:
        table = _hlg(values)
    elif colours.gamma is not None:
        table = values**colours.gamma
    else:
        table = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    levels = table.astype(np.float32)
    if colours.transfer == HLG:
        return lambda part: _display_light(levels[part])
    return lambda part: levels[part]


def _encoder() -> NDArray[np.uint8]:
    """Return a table of sRGB levels for 65,536 steps of light."""
    light = np.linspace(0, 1, 65_536)
    levels = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(levels * 255), np.uint8)


def _pq(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Decode SMPTE ST 2084."""
    power = values ** (1 / 78.84375)
    ratio = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
    light: NDArray[np.float64] = ratio ** (1 / 0.1593017578125) * 10_000 / _WHITE
    return light


def _hlg(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Decode ARIB STD-B67 to the light of the scene."""
    bright = (np.exp((values - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return np.where(values <= 0.5, values**2 / 3, bright)


def _display_light(scene: Light) -> Light:
    """Return the light of a display of 1,000 cd/m² (BT.2100)."""
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32)
    display: Light = scene * (luminance**0.2)[..., None] * np.float32(_PEAK)
    return display


def _tone_map(light: Light) -> Light:
    """Apply ffmpeg's `mobius` to the brightest channel, which preserves hues."""
    signal = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    scale = _KNEE**2 - 2 * _KNEE + _PEAK
    low = -(_KNEE**2) * (_PEAK - 1) / scale
    high = (_KNEE**2 - 2 * _KNEE * _PEAK + _PEAK) / (_PEAK - 1)
    curve = (high**2 + 2 * high * _KNEE + _KNEE**2) / (high - low)
    tone = np.where(signal > _KNEE, curve * (signal + low) / (signal + high), signal)
    result: Light = (light * (tone / signal)).astype(np.float32)
    return result


def _matrix(primaries: tuple[float, ...]) -> NDArray[np.float32]:
    """Return the matrix from these primaries to BT.709's, with Bradford white adaptation."""
    if primaries == BT709:
        return np.eye(3, dtype=np.float32)
    target, source = _xyz(BT709), _xyz(primaries)
    white = np.ones(3)
    cones = np.diag((_BRADFORD @ target @ white) / (_BRADFORD @ source @ white))
    adaptation = np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD
    return np.asarray(np.linalg.inv(target) @ adaptation @ source, np.float32)


def _xyz(primaries: tuple[float, ...]) -> NDArray[np.float64]:
    columns = [
        np.array([x / y, 1, (1 - x - y) / y])
        for x, y in zip(primaries[::2], primaries[1::2], strict=True)
    ]
    basis = np.stack(columns[:3], axis=1)
    return np.asarray(basis * np.linalg.solve(basis, columns[3]))
