"""Draw the presenters of the demo and of the tests: `make faces` shows them speak.

No photo of a person is in the repository. A face is a surface of bumps in one light, painted with
skin, lips, eyes and hair. Lengths are in eye distances: 1 lies between the outer corners of the
eyes, (0, 0) in the middle between them, y goes down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

FOLDER = Path(__file__).with_name("faces")
SIDE = 640  # pixels of a picture
_DRAWN = 2 * SIDE  # pixels while it is drawn
_UNIT = 300.0  # of those in an eye distance
_ORIGIN = (_DRAWN / 2, _DRAWN * 0.43)
_LIGHT = np.array([-0.42, -0.50, 0.76]) / np.linalg.norm([-0.42, -0.50, 0.76])

Plane: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]  # (_DRAWN, _DRAWN)
Picture: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]  # (_DRAWN, _DRAWN, 3), 0 to 255
Outline: TypeAlias = Sequence[tuple[float, float]]
Colour: TypeAlias = tuple[float, float, float]

_ROWS, _COLUMNS = np.mgrid[0:_DRAWN, 0:_DRAWN].astype(np.float32)
X, Y = (_COLUMNS - _ORIGIN[0]) / _UNIT, (_ROWS - _ORIGIN[1]) / _UNIT


@dataclass(frozen=True)
class Look:
    """What differs between the faces; `jaw`, `chin` and `brows` are widths, `length` is that of
    the face below the eyes."""

    skin: Colour
    lips: Colour
    hair: Colour
    iris: Colour
    shirt: Colour
    wall: Colour
    style: Literal["long", "short", "bun"]
    jaw: float = 0.61
    chin: float = 0.23
    length: float = 1.12
    fullness: float = 1.0  # of the lips
    brows: float = 0.045


LOOKS = {
    "anna": Look(
        skin=(232, 188, 160),
        lips=(196, 106, 100),
        hair=(72, 46, 30),
        iris=(86, 110, 120),
        shirt=(46, 74, 120),
        wall=(196, 208, 214),
        style="long",
        fullness=1.1,
    ),
    "marc": Look(
        skin=(214, 164, 128),
        lips=(178, 104, 92),
        hair=(46, 36, 32),
        iris=(84, 58, 38),
        shirt=(70, 96, 80),
        wall=(214, 206, 192),
        style="short",
        jaw=0.65,
        chin=0.29,
        length=1.15,
        fullness=0.75,
        brows=0.062,
    ),
    "zuri": Look(
        skin=(128, 84, 60),
        lips=(132, 66, 62),
        hair=(30, 24, 24),
        iris=(52, 34, 24),
        shirt=(168, 92, 60),
        wall=(206, 200, 208),
        style="bun",
        fullness=1.5,
    ),
}

# Behind the head, and in front of it.
_HAIR_BEHIND = {
    "long": [
        *((0, -1.16), (0.55, -1.02), (0.92, -0.55), (1.0, 0.1), (1.02, 0.7), (1.1, 1.3)),
        *((0.95, 1.75), (0.5, 1.7), (0, 1.6)),
    ],
    "bun": [(0, -1.62), (0.3, -1.55), (0.42, -1.3), (0.3, -1.05), (0, -0.95)],
}
_SHORT_HAIR = [
    *((-0.80, 0.02), (-0.86, -0.35), (-0.80, -0.80), (-0.45, -1.16), (0, -1.25), (0.48, -1.18)),
    *((0.82, -0.80), (0.87, -0.35), (0.80, 0.02), (0.74, -0.02), (0.71, -0.30), (0.63, -0.60)),
    *((0.44, -0.74), (0.10, -0.70), (-0.22, -0.62), (-0.46, -0.66), (-0.63, -0.52)),
    *((-0.71, -0.28), (-0.74, -0.02)),
]
_LONG_HAIR = [
    *((-0.72, 0.95), (-1.0, 0.9), (-1.02, 0.1), (-0.95, -0.55), (-0.56, -1.08), (0, -1.22)),
    *((0.56, -1.08), (0.95, -0.55), (1.02, 0.1), (1.0, 0.9), (0.72, 0.95), (0.77, 0.4)),
    *((0.72, -0.1), (0.59, -0.46), (0.30, -0.72), (-0.12, -0.86), (-0.36, -0.66)),
    *((-0.61, -0.38), (-0.72, -0.05), (-0.77, 0.4)),
]
_TIED_HAIR = [
    *((-0.77, -0.05), (-0.83, -0.4), (-0.74, -0.82), (-0.4, -1.10), (0, -1.17), (0.4, -1.10)),
    *((0.74, -0.82), (0.83, -0.4), (0.77, -0.05), (0.71, -0.28), (0.60, -0.58), (0.35, -0.78)),
    *((0, -0.83), (-0.35, -0.78), (-0.60, -0.58), (-0.71, -0.28)),
]
_HAIR_BEFORE = {"long": _LONG_HAIR, "short": _SHORT_HAIR, "bun": _TIED_HAIR}
_LIP_LINE = [(-0.275, 0.718), (-0.15, 0.72), (0, 0.724), (0.15, 0.72), (0.275, 0.718)]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, look in LOOKS.items():
        draw(look).save(FOLDER / f"{name}.jpg", quality=92)


def draw(look: Look) -> Image.Image:
    """Draw one face, SIDE pixels square."""
    picture = _wall(look)
    if look.style in _HAIR_BEHIND:
        _paint_hair(picture, _mask(_mirrored(_HAIR_BEHIND[look.style]), 0.02), look, shine=0.3)
    _paint_body(picture, look)
    face = _mask(_mirrored(_face_outline(look)), 0.006)
    _cover(picture, _face(look), face)
    for side in (-1, 1):
        _paint_eye(picture, look, side)
        _paint_brow(picture, look, side)
    hair = _mask(_HAIR_BEFORE[look.style], 0.012)
    shadow = _blur(np.roll(hair, round(0.05 * _UNIT), 0), 0.035) * face
    picture *= 1 - 0.4 * shadow[..., None]
    _paint_hair(picture, hair, look, shine=0.42)
    image = Image.fromarray(np.clip(picture + 0.5, 0, 255).astype(np.uint8))
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _wall(look: Look) -> Picture:
    fall = (1.08 - 0.16 * _ROWS / _DRAWN)[..., None]
    corner = 10 * (np.hypot(X, Y - 0.2) / 2.2)[..., None] ** 2
    return (np.array(look.wall, np.float32) * fall - corner).astype(np.float32)


def _paint_body(picture: Picture, look: Look) -> None:
    """Paint shoulders, neck and ears."""
    skin = np.array(look.skin, np.float32)
    shoulders = [(0, 1.36), (0.42, 1.42), (0.95, 1.55), (1.5, 1.75), (1.8, 2.3), (1.9, 3.2)]
    folds = 0.1 * np.exp(-(((np.abs(X) - 1.15) / 0.12) ** 2))
    shade = 1 - 0.25 * np.clip((X + 0.6) / 2.2, -0.5, 1) - folds
    shirt = np.array(look.shirt, np.float32) * shade[..., None]
    _cover(picture, shirt, _mask(_mirrored(shoulders), 0.008))
    neck = [(0, 0.7), (0.44, 0.75), (0.43, 1.2), (0.5, 1.42), (0.4, 1.54), (0.2, 1.66), (0, 1.7)]
    shade = 1 - 0.42 * np.exp(-(((Y - 1.12) / 0.24) ** 2)) - 0.14 * np.clip((X + 0.2) / 0.5, 0, 1)
    _cover(picture, skin * shade[..., None] * (1, 0.95, 0.92), _mask(_mirrored(neck), 0.008))
    ear = [(0.70, -0.14), (0.82, -0.20), (0.885, -0.08), (0.86, 0.14), (0.80, 0.32), (0.72, 0.34)]
    fold = [(0.76, -0.09), (0.825, -0.10), (0.82, 0.06), (0.775, 0.2)]
    for side in (-1, 1):
        tint = np.array([0.96, 0.86, 0.84]) * (1.0 if side < 0 else 0.88)
        _cover(picture, skin * tint, _mask(_on(side, ear), 0.008))
        _cover(picture, skin * 0.5, 0.35 * _stroke(_on(side, fold), (0.01, 0.03, 0.01), 0.012))


def _face_outline(look: Look) -> Outline:
    upper = [(0, -1.0), (0.40, -0.92), (0.66, -0.62), (0.745, -0.25), (0.75, 0.1), (0.71, 0.4)]
    length = look.length
    return [*upper, (look.jaw, 0.7), (0.45, 0.95), (look.chin, length - 0.035), (0, length)]


def _face(look: Look) -> Picture:
    """Paint the face without eyes and brows, in its light."""
    albedo = _albedo(look)
    diffuse, shine = _light(_height(look))
    ramp = np.clip((diffuse - 0.02) / 0.98, 0, 1)[..., None]
    picture = albedo * (np.array([0.46, 0.396, 0.368]) * (1 - ramp) + 1.06 * ramp)
    picture += 42 * shine[..., None] * (1, 0.96, 0.9)
    picture += 34 * (_mask(_lower_lip(look), 0.02) * _bump(-0.05, 0.775, 0.10, 0.02))[..., None]
    _darken(picture, _LIP_LINE, (0.004, 0.014, 0.015, 0.014, 0.004), 0.005, 0.62)
    nostril = [(0.045, 0.487), (0.085, 0.474), (0.125, 0.487)]
    wing = [(0.155, 0.385), (0.18, 0.435), (0.16, 0.485)]
    crease = [(0.18, -0.045), (0.27, -0.105), (0.38, -0.11), (0.49, -0.045)]
    for side in (-1, 1):
        _darken(picture, _on(side, nostril), (0.006, 0.03, 0.006), 0.008, 0.62)
        _darken(picture, _on(side, wing), (0.004, 0.014, 0.008), 0.012, 0.3)
        _darken(picture, _on(side, crease), (0.004, 0.013, 0.006), 0.008, 0.35)
    return picture.astype(np.float32)


def _height(look: Look) -> Plane:
    """Return how near the surface of the face is."""
    skull = 1 - (X / 0.86) ** 2 - ((Y - 0.08) / 1.32) ** 2
    height = 0.62 * np.sqrt(np.clip(skull, 0.02, 1))
    nose = np.where(
        Y < 0.4, np.exp(-(((Y - 0.4) / 0.34) ** 2)), np.exp(-(((Y - 0.4) / 0.075) ** 2))
    )
    height += 0.20 * np.exp(-((X / 0.085) ** 2)) * nose
    height += 0.055 * _pair(0.115, 0.43, 0.065, 0.065) + 0.05 * _bump(0, 0.41, 0.09, 0.07)
    height -= 0.02 * _pair(0.215, 0.47, 0.05, 0.12)
    height -= 0.085 * _pair(0.31, -0.02, 0.19, 0.115)  # the sockets, and the brows above
    height += 0.05 * _pair(0.36, -0.21, 0.24, 0.07)
    height += 0.035 * _pair(0.46, 0.33, 0.22, 0.20) - 0.03 * _pair(0.36, 0.62, 0.06, 0.16)
    lips = 0.055 * _bump(0, 0.665, 0.19, 0.045) + 0.075 * _bump(0, 0.775, 0.17, 0.055)
    height += look.fullness * lips - 0.02 * _pair(0.29, 0.715, 0.04, 0.03)
    height -= 0.05 * _bump(0, 0.90, 0.2, 0.06) + 0.012 * _bump(0, 0.57, 0.03, 0.05)
    height += 0.06 * _bump(0, look.length - 0.09, 0.17, 0.11)
    return np.asarray(height, np.float32)


def _light(height: Plane) -> tuple[Plane, Plane]:
    """Return the diffuse and the mirrored light of a surface."""
    down, right = np.gradient(height * _UNIT)
    upright = 1 / np.sqrt(right**2 + down**2 + 1)
    half = _LIGHT + np.array([0, 0, 1])
    half /= np.linalg.norm(half)
    diffuse, mirrored = (
        (-right * way[0] - down * way[1] + way[2]) * upright for way in (_LIGHT, half)
    )
    return _blur(diffuse, 0.014), _blur(np.clip(mirrored, 0, 1), 0.012) ** 28


def _albedo(look: Look) -> Picture:
    """Return the colours of skin and lips, without light."""
    skin = np.broadcast_to(np.array(look.skin, np.float32), (_DRAWN, _DRAWN, 3)).copy()
    blush = 0.5 * _pair(0.44, 0.36, 0.18, 0.14) + 0.35 * _bump(0, 0.42, 0.10, 0.08)
    blush += 0.2 * _bump(0, look.length - 0.1, 0.16, 0.1)
    skin *= 1 - blush[..., None] * (0, 0.13, 0.12)
    skin *= 1 - (0.16 * _pair(0.30, 0.02, 0.17, 0.10))[..., None] * (0.8, 1, 0.9)
    skin *= 1 + 0.012 * _noise(9, 0.006, 0.006)[..., None]
    bow = 0.628 - 0.012 * look.fullness
    upper = [(-0.275, 0.718), (-0.16, 0.665), (-0.065, bow), (0, bow + 0.014), (0.065, bow)]
    upper += [(0.16, 0.665), (0.275, 0.718), (0.15, 0.722), (0, 0.724), (-0.15, 0.722)]
    lips = np.array(look.lips, np.float32)
    _cover(skin, lips * 0.86, 0.85 * _mask(upper, 0.010))
    _cover(skin, lips, 0.8 * _mask(_lower_lip(look), 0.010))
    return skin


def _lower_lip(look: Look) -> Outline:
    edge = 0.825 + 0.018 * look.fullness
    right = [(0.19, 0.785), (0.09, edge), (0, edge + 0.006), (-0.09, edge), (-0.19, 0.785)]
    return [*_LIP_LINE, *right]


def _paint_eye(picture: Picture, look: Look, side: int) -> None:
    upper = _on(side, [(0.185, 0.022), (0.235, -0.035), (0.325, -0.067), (0.415, -0.045)])
    upper += _on(side, [(0.5, 0.006)])
    lower = _on(side, [(0.5, 0.006), (0.43, 0.048), (0.335, 0.062), (0.25, 0.048), (0.185, 0.022)])
    opening = _fill(np.concatenate([_spline(upper, False), _spline(lower, False)]), 0.004)
    _cover(picture, _eyeball(look, side, upper), opening)
    lash = (34, 24, 22)
    _cover(picture, lash, 0.9 * _stroke(upper, (0.010, 0.020, 0.026, 0.026, 0.014), 0.005))
    tip = _on(side, [(0.485, -0.004), (0.515, -0.02)])
    _cover(picture, lash, 0.75 * _stroke(tip, (0.016, 0.003), 0.005))
    skin = np.array(look.skin, np.float32)
    _cover(picture, skin * 0.38, 0.42 * _stroke(lower, (0.008, 0.010, 0.008, 0.006), 0.006))
    corner = _on(side, [(0.183, 0.022), (0.205, 0.008), (0.215, 0.026), (0.2, 0.034)])
    _cover(picture, (206, 140, 130), 0.7 * _mask(corner, 0.006))


def _eyeball(look: Look, side: int, lid: Outline) -> Picture:
    """Paint a white with iris, pupil, the light in it, and the shadow of the lid."""
    middle = side * 0.335
    white = np.array([236, 233, 230], np.float32)
    ball = white * (1 - 0.10 * np.clip(np.abs(X - middle) / 0.16, 0, 1) ** 2)[..., None]
    away, angle = np.hypot(X - middle, Y + 0.004), np.arctan2(Y + 0.004, X - middle)
    rays = 1 + 0.16 * np.sin(angle * 23 + 3 * np.sin(angle * 7)) * np.clip(
        (away - 0.02) / 0.04, 0, 1
    )
    rim = 1.15 - 0.75 * np.clip((away - 0.055) / 0.027, 0, 1)
    glow = 1 + 0.35 * np.clip(Y / 0.08, -0.5, 1)
    iris = np.array(look.iris, np.float32) * (rays * rim * glow)[..., None]
    _cover(ball, iris, np.clip((0.082 - away) / 0.006, 0, 1))
    ball *= 1 - 0.94 * np.clip((0.034 - away) / 0.006, 0, 1)[..., None]
    x, y = np.abs(np.array(lid)[:, 0]), np.array(lid)[:, 1]
    below_lid = np.clip(Y - np.interp(side * X, x, y), 0, 1)
    ball *= 1 - 0.5 * np.exp(-below_lid / 0.03)[..., None]
    spark = np.hypot(X - middle + 0.028, Y + 0.032)
    ball += 230 * np.clip((0.017 - spark) / 0.006, 0, 1)[..., None]
    return np.clip(ball, 0, 255)


def _paint_brow(picture: Picture, look: Look, side: int) -> None:
    line = _on(side, [(0.13, -0.185), (0.25, -0.235), (0.40, -0.255), (0.56, -0.175)])
    widths = tuple(look.brows * share for share in (0.9, 1.15, 1.0, 0.15))
    hairs = 0.82 + 0.10 * np.sin((side * X + 0.8 * Y) * 150)
    colour = np.array(look.hair, np.float32) * 0.55 + 10
    _cover(picture, colour, 0.88 * _stroke(line, widths, 0.010) * hairs)


def _paint_hair(picture: Picture, mask: Plane, look: Look, shine: float) -> None:
    """Paint strands from the crown down, with a band of light around it."""
    angle, away = 2 * np.arctan2(Y + 0.5, X), np.hypot(X * 1.1, Y + 0.5)
    strands = 0.5 * np.sin(angle * 90 + 2.2 * _noise(1, 0.08, 0.08))
    strands += 0.35 * _noise(2, 0.004, 0.10)
    band = (shine * np.exp(-(((away - 0.55) / 0.16) ** 2)))[..., None]
    colour = np.array(look.hair, np.float32) * (0.82 + 0.11 * strands[..., None] + 0.75 * band)
    _cover(picture, colour + 18 * band, mask)


def _cover(picture: Picture, colour: Any, mask: Plane) -> None:
    picture += (np.asarray(colour, np.float32) - picture) * mask[..., None]


def _darken(
    picture: Picture, line: Outline, widths: tuple[float, ...], softness: float, share: float
) -> None:
    picture *= 1 - share * _stroke(line, widths, softness)[..., None]


def _bump(x: float, y: float, width: float, height: float) -> Plane:
    return np.exp(-(((X - x) / width) ** 2) - ((Y - y) / height) ** 2)


def _pair(x: float, y: float, width: float, height: float) -> Plane:
    return _bump(x, y, width, height) + _bump(-x, y, width, height)


def _noise(seed: int, width: float, height: float) -> Plane:
    """Return noise of unit deviation, with grains of this size."""
    grains = np.random.default_rng(seed).normal(0, 1, (_DRAWN, _DRAWN)).astype(np.float32)
    grains = cv2.GaussianBlur(grains, (0, 0), sigmaX=width * _UNIT, sigmaY=height * _UNIT)
    return np.asarray(grains / grains.std())


def _blur(plane: Plane, radius: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane.astype(np.float32), (0, 0), radius * _UNIT))


def _on(side: int, right: Outline) -> list[tuple[float, float]]:
    return [(side * x, y) for x, y in right]


def _mirrored(right: Outline) -> Outline:
    """Complete the right half of an outline, from the top down, with the left one."""
    return [*right, *((-x, y) for x, y in reversed(right) if x)]


def _spline(points: Outline, closed: bool) -> np.ndarray[Any, Any]:
    """Return a smooth line through points (Catmull and Rom)."""
    line = np.array(points, float)
    before, after = (line[-1:], line[:2]) if closed else (line[:1], line[-1:])
    knots = np.concatenate([before, line, after])
    t = np.linspace(0, 1, 16, endpoint=False)[:, None]
    parts = [
        (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        / 2
        for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False)
    ]
    return np.concatenate(parts if closed else [*parts, line[-1:]])


def _mask(points: Outline, softness: float) -> Plane:
    """Return the inside of a smooth outline, 0 to 1."""
    return _fill(_spline(points, closed=True), softness)


def _stroke(points: Outline, widths: tuple[float, ...], softness: float) -> Plane:
    """Return a smooth line whose width changes along it."""
    line = _spline(points, closed=False)
    along = np.linspace(0, 1, len(line))
    width = np.interp(along, np.linspace(0, 1, len(widths)), widths)[:, None]
    way = np.gradient(line, axis=0)
    across = np.stack([-way[:, 1], way[:, 0]], 1) / np.linalg.norm(way, axis=1, keepdims=True)
    half = across * width / 2
    return _fill(np.concatenate([line + half, (line - half)[::-1]]), softness)


def _fill(polygon: np.ndarray[Any, Any], softness: float) -> Plane:
    image = Image.new("L", (_DRAWN, _DRAWN))
    ImageDraw.Draw(image).polygon([tuple(p) for p in polygon * _UNIT + _ORIGIN], fill=255)
    blurred = image.filter(ImageFilter.GaussianBlur(softness * _UNIT))
    return np.asarray(blurred, np.float32) / 255


if __name__ == "__main__":
    main()
