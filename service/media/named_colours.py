"""Colours of still images by their code points in ITU-T H.273."""

from dataclasses import dataclass

# x and y of red, green, blue and white.
_D65 = (0.3127, 0.3290)
BT709 = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65)
_PRIMARIES = {
    4: (0.670, 0.330, 0.210, 0.710, 0.140, 0.080, 0.310, 0.316),
    5: (0.640, 0.330, 0.290, 0.600, 0.150, 0.060, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),  # BT.2020
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),  # Display P3
}
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
PQ, HLG = 16, 18


@dataclass(frozen=True)
class Colours:
    """Primaries and transfer: a code point of H.273, or a gamma; both None mean sRGB's."""

    primaries: tuple[float, ...] = BT709
    transfer: int | None = None
    gamma: float | None = None

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (PQ, HLG)


def colours_of(primaries: int, transfer: int) -> Colours | None:
    """Look up code points of H.273; None for sRGB and unknown ones. The transfer of BT.709 and the
    like counts as sRGB's, as in every viewer."""
    colours = Colours(
        _PRIMARIES.get(primaries, BT709),
        transfer if transfer in (PQ, HLG) else None,
        _GAMMAS.get(transfer),
    )
    return None if colours == Colours() else colours
