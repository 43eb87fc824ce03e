"""Shapes of the mouth from the sound alone, by a small network that scripts/train_lips.py trains.

It serves speech whose sounds nobody timed: a recording, or a voice that tells no phonemes.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.domain.avatar import SPEECH_RATE
from service.workers.puppet.articulation import JAW, PRESS, REST, Curve, Waveform, close_jaw, smooth
from service.workers.puppet.face import Floats, Reals

HOP = 160  # samples: RATE features a second
BANDS = 32
# The features around a moment that the network sees, in hops.
CONTEXT = (-12, -9, -7, -5, -3, -2, -1, 0, 1, 2, 3, 5, 7, 9, 12)
WEIGHTS = Path(__file__).with_name("lips.npz")

_WINDOW, _BINS = 400, 512
_LOWEST, _HIGHEST = 60.0, 7600.0  # hertz
_FLOOR = -12.0  # below the speech, in nepers of energy
_BLOCK = 4096  # features at a time
# A regression draws towards the mean: how much a value is spread, and from where.
_SPREADS = ((JAW, 1.12, 0.0), (PRESS, 2.4, 0.10))


class LipReader:
    """A network of two hidden layers; making one reads its 147 kB of weights."""

    def __init__(self) -> None:
        with np.load(WEIGHTS) as file:
            self._layers: list[tuple[Floats, Floats]] = [
                (file[f"w{index}"].astype(np.float32), file[f"b{index}"].astype(np.float32))
                for index in range(3)
            ]

    def read(self, sound: Waveform) -> Curve:
        """Return the mouth for a whole sound; where nobody speaks, the lips rest closed."""
        mel = log_mel(sound)
        blocks = [self._predict(mel, first) for first in range(0, len(mel), _BLOCK)]
        pose: Reals = np.clip(smooth(np.concatenate(blocks), 1.2), 0, 1)
        for part, gain, zero in _SPREADS:
            pose[:, part] = np.clip((pose[:, part] - zero) * gain, 0, 1)
        close_jaw(pose)
        rest = np.array(REST)
        pose = rest + (pose - rest) * _voice(mel)[:, None]
        return pose.astype(np.float32)

    def _predict(self, mel: Floats, first: int) -> Floats:
        rows = np.arange(first, min(first + _BLOCK, len(mel)))
        values = stack(mel, rows)
        for number, (weights, bias) in enumerate(self._layers):
            values = values @ weights + bias
            if number < len(self._layers) - 1:
                np.maximum(values, 0, out=values)
        return values


def log_mel(sound: Waveform) -> Floats:
    """Return the log energies of BANDS bands, (features, BANDS), feature i in the middle of hop i.

    0 is the level of loud speech in this sound.
    """
    count = max(1, -(-len(sound) // HOP))
    before = (_WINDOW - HOP) // 2
    wide = np.pad(sound, (before, _WINDOW + count * HOP - len(sound)))
    sharp = np.append(wide[0], wide[1:] - np.float32(0.95) * wide[:-1])
    window = np.hanning(_WINDOW).astype(np.float32)
    filters = _mel_filters()
    result = np.empty((count, BANDS), np.float32)
    for first in range(0, count, _BLOCK):
        starts = np.arange(first, min(count, first + _BLOCK)) * HOP
        pieces = sharp[starts[:, None] + np.arange(_WINDOW)] * window
        energy = np.abs(np.fft.rfft(pieces, _BINS)) ** 2
        result[first : first + len(starts)] = np.log(energy.astype(np.float32) @ filters.T + 1e-8)
    level = np.percentile(result.max(1), 92)
    relative: Floats = np.maximum(result - np.float32(level), np.float32(_FLOOR))
    return relative


def stack(mel: Floats, rows: NDArray[np.intp]) -> Floats:
    """Return what the network sees at each of `rows`: (rows, BANDS * contexts)."""
    around = np.clip(rows[:, None] + np.array(CONTEXT), 0, len(mel) - 1)
    values: Floats = mel[around] / np.float32(4) + np.float32(1)
    return values.reshape(len(rows), -1)


def _mel_filters() -> Floats:
    """Return triangles over the bins of the spectrum, evenly apart by ear: (BANDS, bins)."""
    low, high = 2595 * np.log10(1 + np.array([_LOWEST, _HIGHEST]) / 700)
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    bins = np.arange(_BINS // 2 + 1) * SPEECH_RATE / _BINS
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    filters: Floats = np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
    return filters


def _voice(mel: Floats) -> Reals:
    """Return how surely somebody speaks, 0 to 1, from 50 ms before to 50 ms after."""
    level = smooth(mel.max(1), 2.0)
    speaks = np.pad(1 / (1 + np.exp(-(level + 5.5) * 1.6)), 5, mode="edge")
    widest = np.lib.stride_tricks.sliding_window_view(speaks, 11).max(1)
    return smooth(widest, 2.0)
