"""Positions and sizes of the slate's elements, in pixels."""

from dataclasses import dataclass
from math import ceil, radians, sin

from service.workers.adapters.slate_art.stick import OPEN_DEGREES

SMALLEST_PRINT = 9  # below this the font is no longer legible


@dataclass(frozen=True)
class Layout:
    """The board's position in the frame, and its rows, relative to the board's upper edge."""

    left: int
    top: int
    wide: int
    tall: int
    stick: int  # thickness of each stick; the lower one is the upper edge of the board
    em: int  # size of small print
    shade: int  # reach of the shadow
    roomy: bool  # has room for labels and the row of fields

    @property
    def pad(self) -> int:
        return max(3, min(round(self.em * 1.2), self.wide // 18))

    @property
    def radius(self) -> int:
        return max(2, self.wide // 70)

    @property
    def banner(self) -> int:
        return self.tall - round(self.em * (2.2 if self.roomy else 1.7))

    @property
    def dials(self) -> int:
        return self.banner - round(self.em * (4.2 if self.roomy else 1.9))

    @property
    def fields(self) -> int:
        return self.dials - round(self.em * 4.0) * self.roomy


def lay_out(width: int, height: int) -> Layout:
    """Compute the largest slate whose open stick stays inside the frame."""
    side = min(width, height)
    margin = max(3, round(side * 0.05))
    room = height - 2 * margin
    wide = min(width - 2 * margin, round(room * 1.42))
    stick = max(5, round(wide * 0.06))
    above = ceil(sin(radians(OPEN_DEGREES)) * wide) + stick
    tall = min(room - above, round(wide * 1.15))
    em = max(SMALLEST_PRINT, round(min((wide * tall) ** 0.5 * 0.031, wide / 32)))
    return Layout(
        left=(width - wide) // 2,
        top=(height - tall - above) // 2 + above,
        wide=wide,
        tall=tall,
        stick=stick,
        em=em,
        shade=min(margin, wide // 18),
        roomy=tall - stick >= 17 * em and wide >= 30 * em,
    )
