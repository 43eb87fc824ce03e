"""Paint the inside of a mouth: teeth, tongue and what is behind them."""

from dataclasses import dataclass

import numpy as np

from service.workers.puppet.anatomy import Colours, smoothstep
from service.workers.puppet.articulation import JAW, LIFT, ROUND, TONGUE
from service.workers.puppet.face import Floats
from service.workers.puppet.pose import Pose

# In eye distances.
_HALF_ARCH = 0.275
_UPPER_EDGE = 0.040  # of the upper teeth below the rest of the upper lip
_UPPER_TOOTH, _LOWER_TOOTH = 0.085, 0.058  # widths
_GAP_DEPTH = 0.11  # how much darker it is between teeth


@dataclass(frozen=True)
class Inside:
    """Pixels around a mouth: places along (x) and across it (y), and both lips there; (h, w)."""

    x: Floats
    y: Floats
    top: Floats
    bottom: Floats
    half_width: float


class Cavity:
    """The inside of one mouth."""

    def __init__(self, unit: float, softness: float, colours: Colours) -> None:
        self._unit, self._softness, self._colours = unit, softness, colours

    def paint(self, place: Inside, pose: Pose, skull: Floats) -> Floats:
        """Return the colour at every pixel, as if there were no lips: (h, w, 3), 0 to 255.

        `skull`, (n, 2), is the line where closed lips would meet.
        """
        across = place.x - skull[len(skull) // 2, 0]
        arch = across / (_HALF_ARCH * self._unit)
        low = _value_at(place.bottom, across)
        depth = (place.y - place.top) / np.maximum(place.bottom - place.top, 1)
        base = self._colours.cavity * (0.6 + 0.5 * np.clip(depth, 0, 1))[..., None]
        self._add_tongue(base, place, pose, across, low)
        self._add_lower_teeth(base, place, pose, arch, low)
        self._add_upper_teeth(base, place, pose, arch, skull)
        base *= self._shadow(place)[..., None]
        return base

    def _add_tongue(
        self, base: Floats, place: Inside, pose: Pose, across: Floats, low: float
    ) -> None:
        """Draw a mound behind the lower teeth, whose tip is up for l, th and n."""
        unit, tip = self._unit, float(pose.mouth[TONGUE])
        height = (0.040 + 0.030 * float(pose.mouth[JAW]) + 0.070 * tip) * unit
        below = place.y - (low - height + np.float32(0.9 / unit) * across**2)
        light = 0.62 + 0.38 * np.exp(-(((below - 0.04 * unit) / (0.06 * unit)) ** 2))
        share = smoothstep(-self._softness, 0.035 * unit, below) * (0.65 + 0.35 * tip)
        _blend(base, self._colours.tongue, light, share)

    def _add_lower_teeth(
        self, base: Floats, place: Inside, pose: Pose, arch: Floats, low: float
    ) -> None:
        unit, mouth = self._unit, pose.mouth
        rise = 0.012 + 0.020 * float(mouth[LIFT]) + 0.012 * (1 - float(mouth[JAW]))
        edge = low - rise * unit + 0.045 * unit * arch**2
        depth = np.sqrt(np.clip(1 - arch**2, 0, 1))
        share = smoothstep(-self._edge, self._edge, place.y - edge) * smoothstep(0, 0.4, depth)
        light = 0.72 * (0.30 + 0.70 * depth) * self._gaps(arch, _LOWER_TOOTH, 0)
        _blend(base, self._colours.teeth, light, share * 0.9 * (1 - 0.8 * float(mouth[ROUND])))

    def _add_upper_teeth(
        self, base: Floats, place: Inside, pose: Pose, arch: Floats, skull: Floats
    ) -> None:
        unit = self._unit
        line = (np.interp(place.x, *skull.T) + skull[len(skull) // 2, 1]) / 2
        drop = _UPPER_EDGE - 0.018 * float(pose.mouth[ROUND]) - 0.030 * arch**2
        depth = np.clip(1 - arch**2, 0, 1)
        share = smoothstep(-self._edge, self._edge, line + drop * unit - place.y)
        share *= smoothstep(0, 0.45, depth)
        light = 0.90 + 0.10 * smoothstep(0, 0.03 * unit, place.y - place.top)
        light = light * (0.38 + 0.62 * np.sqrt(depth))
        light *= self._gaps(arch, _UPPER_TOOTH, _UPPER_TOOTH / 2)
        _blend(base, self._colours.teeth, light, share * 0.96)

    @property
    def _edge(self) -> float:
        return 0.9 * self._softness

    def _gaps(self, arch: Floats, width: float, shift: float) -> Floats:
        """Return the light on teeth of a width and shift in eye distances: less between them."""
        across = (arch * _HALF_ARCH + shift) / width
        away = np.abs(across - np.round(across)) * width * self._unit
        gap = 0.35 * self._softness + 0.006 * self._unit
        result: Floats = (1 - _GAP_DEPTH * np.exp(-((away / gap) ** 2))).astype(np.float32)
        return result

    def _shadow(self, place: Inside) -> Floats:
        """Return the light that lips and cheeks let in, 0 to 1."""
        near = smoothstep(-1, 0.024 * self._unit, place.y - place.top)
        near = near * (0.75 + 0.25 * smoothstep(-1, 0.02 * self._unit, place.bottom - place.y))
        half = place.half_width
        cheek = 1 - 0.55 * smoothstep(half * 0.62, half, np.abs(place.x))
        return (0.74 + 0.26 * near) * cheek


def _blend(base: Floats, colour: Floats, light: Floats, share: Floats) -> None:
    base += (colour * light[..., None] - base) * share[..., None]


def _value_at(values: Floats, across: Floats) -> float:
    """Return the value where `across` is closest to 0."""
    return float(values.ravel()[np.abs(across).argmin()])
