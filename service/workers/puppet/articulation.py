"""Shapes of the mouth over time, from timed speech sounds.

Each sound has a target and a dominance, by which neighbours share the mouth (Cohen and Massaro,
Modeling coarticulation in synthetic visual speech, 1993).
"""
# ruff: noqa: RUF001 - symbols of the IPA

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.speech import Phone
from service.speech.phones import VOWELS
from service.workers.puppet.face import Reals

# The mouth at RATE: float32, (samples, 7), 0 to 1, in this order:
# jaw, dropped; wide, corners apart (ee); round, narrow and forward (oo); press, lips closed (m);
# tuck, lower lip under the teeth (f); lift, upper lip up (s); tongue, its tip up (l).
Curve: TypeAlias = NDArray[np.float32]
JAW, WIDE, ROUND, PRESS, TUCK, LIFT, TONGUE = range(7)
RATE = 100  # hertz
# Sound at SPEECH_RATE: float32, (samples,), -1 to 1.
Waveform: TypeAlias = NDArray[np.float32]

SILENCE = ""
REST = (0.02, 0.15, 0.00, 0.25, 0.00, 0.00, 0.00)
_TARGETS = {
    SILENCE: REST,
    "a": (0.92, 0.25, 0.00, 0.00, 0.00, 0.20, 0.00),
    "æ": (0.80, 0.55, 0.00, 0.00, 0.00, 0.35, 0.00),
    "ʌ": (0.62, 0.22, 0.05, 0.00, 0.00, 0.15, 0.00),
    "ə": (0.40, 0.22, 0.05, 0.00, 0.00, 0.12, 0.05),
    "ɜ": (0.42, 0.12, 0.35, 0.00, 0.00, 0.15, 0.05),
    "ɛ": (0.58, 0.55, 0.00, 0.00, 0.00, 0.30, 0.00),
    "e": (0.45, 0.75, 0.00, 0.00, 0.00, 0.35, 0.00),
    "ɪ": (0.34, 0.58, 0.00, 0.00, 0.00, 0.28, 0.05),
    "i": (0.22, 0.95, 0.00, 0.00, 0.00, 0.38, 0.05),
    "ɔ": (0.70, 0.00, 0.55, 0.00, 0.00, 0.10, 0.00),
    "o": (0.50, 0.00, 0.78, 0.00, 0.00, 0.08, 0.00),
    "ʊ": (0.32, 0.00, 0.70, 0.00, 0.00, 0.08, 0.00),
    "u": (0.22, 0.00, 1.00, 0.00, 0.00, 0.05, 0.00),
    "m": (0.04, 0.20, 0.00, 1.00, 0.00, 0.00, 0.00),
    "f": (0.12, 0.25, 0.00, 0.00, 1.00, 0.30, 0.00),
    "w": (0.14, 0.00, 1.00, 0.00, 0.00, 0.00, 0.00),
    "ɹ": (0.24, 0.05, 0.55, 0.00, 0.00, 0.15, 0.10),
    "θ": (0.26, 0.35, 0.00, 0.00, 0.00, 0.25, 1.00),
    "l": (0.36, 0.30, 0.00, 0.00, 0.00, 0.15, 0.90),
    "t": (0.18, 0.40, 0.00, 0.00, 0.00, 0.30, 0.55),
    "s": (0.10, 0.55, 0.00, 0.00, 0.00, 0.50, 0.10),
    "ʃ": (0.14, 0.05, 0.62, 0.00, 0.00, 0.45, 0.00),
    "k": (0.32, 0.30, 0.05, 0.00, 0.00, 0.15, 0.00),
    "j": (0.20, 0.75, 0.00, 0.00, 0.00, 0.30, 0.05),
    "h": (0.35, 0.22, 0.05, 0.00, 0.00, 0.12, 0.00),
}
# How strongly a sound insists on each of its values; the rest is left to its neighbours.
_VOWEL = (0.70, 0.70, 0.70, 0.70, 0.70, 0.70, 0.70)
_DOMINANCE = {
    SILENCE: (0.90, 0.50, 0.60, 0.60, 0.60, 0.80, 0.60),
    "m": (1.60, 0.15, 0.30, 6.00, 1.00, 1.20, 0.40),
    "f": (1.30, 0.20, 0.40, 2.00, 5.00, 1.20, 0.40),
    "w": (0.90, 1.50, 3.00, 0.80, 0.80, 0.60, 0.30),
    "ɹ": (0.50, 0.50, 0.90, 0.50, 0.50, 0.40, 0.40),
    "θ": (0.90, 0.30, 0.40, 0.80, 0.80, 0.50, 3.00),
    "l": (0.40, 0.20, 0.25, 0.60, 0.60, 0.30, 2.00),
    "t": (0.70, 0.20, 0.25, 0.60, 0.60, 0.40, 1.00),
    "s": (1.60, 0.40, 0.40, 0.90, 0.90, 1.20, 0.60),
    "ʃ": (1.40, 0.80, 1.60, 0.90, 0.90, 1.00, 0.60),
    "k": (0.30, 0.15, 0.15, 0.60, 0.60, 0.20, 0.50),
    "h": (0.15, 0.10, 0.10, 0.50, 0.50, 0.10, 0.20),
}
_MIN_PAUSE, _MIN_END = 0.06, 0.02  # seconds without a sound that count as silence
_SMOOTHING = 0.022  # seconds
_REACH = 6  # time constants after which a flank is nothing


def pose_curve(phones: Sequence[Phone], seconds: float) -> Curve:
    """Return the mouth over `seconds` of speech, RATE samples a second.

    `phones` are in the order of time; where there are none, the lips rest closed.
    """
    count = int(np.ceil(seconds * RATE - 1e-6))
    times = (np.arange(count) + 0.5) / RATE
    weight = np.full((count, 7), 1e-6)
    total = np.array(REST) * weight
    for phone in _with_silences(phones, seconds):
        first, share = _influence(phone, times)
        span = slice(first, first + len(share))
        dominance = share[:, None] * np.array(_DOMINANCE.get(phone.name, _VOWEL))
        total[span] += dominance * _target(phone)
        weight[span] += dominance
    pose = smooth(total / weight, _SMOOTHING * RATE)
    close_jaw(pose)
    return np.clip(pose, 0, 1).astype(np.float32)


def close_jaw(pose: Reals) -> None:
    """Raise the jaw in `pose`, (samples, 7), where lips press, as they cannot with an open one."""
    pose[:, JAW] *= 1 - 0.85 * np.clip(pose[:, PRESS] * 1.3 - 0.2, 0, 1)


def smooth(values: NDArray[np.floating], sigma: float) -> Reals:
    """Blur along the first axis with a Gaussian of `sigma` samples; the ends are repeated."""
    radius = max(1, int(np.ceil(3 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    margins = ((radius, radius),) + ((0, 0),) * (values.ndim - 1)
    wide = np.pad(np.asarray(values, float), margins, mode="edge")
    # Summed in this order whatever the length, so that equal values stay equal to the bit.
    result = np.zeros(values.shape)
    for offset, share in enumerate(kernel):
        result += share * wide[offset : offset + len(values)]
    return result


def _with_silences(phones: Sequence[Phone], seconds: float) -> Iterator[Phone]:
    """Fill the gaps between phones."""
    end = 0.0
    for phone in phones:
        if phone.start - end > _MIN_PAUSE:
            yield Phone(end, phone.start, SILENCE)
        yield phone
        end = max(end, phone.end)
    if seconds - end > _MIN_END:
        yield Phone(end, seconds + 0.5, SILENCE)


def _target(phone: Phone) -> Reals:
    target = np.array(_TARGETS[phone.name])
    if phone.name in VOWELS:
        # A short vowel does not reach its target, a stressed one goes beyond.
        reach = np.clip(0.55 + (phone.end - phone.start) / 0.16, 0.6, 1.0)
        target[JAW] *= reach * (1.12 if phone.is_stressed else 0.95)
    return target


def _influence(phone: Phone, times: Reals) -> tuple[int, Reals]:
    """Return the share of a phone in the mouth, 0 to 1, and the index of its first sample.

    It is full in the middle, with exponential flanks; lips prepare a sound for longer than they
    hold it.
    """
    first, last, lead, lag = _plateau(phone)
    begin = int(np.searchsorted(times, first - _REACH * lead))
    end = int(np.searchsorted(times, last + _REACH * lag))
    span = times[begin:end]
    away = np.maximum((first - span) / lead, (span - last) / lag)
    result: Reals = np.exp(-np.maximum(away, 0))
    return begin, result


def _plateau(phone: Phone) -> tuple[float, float, float, float]:
    """Return the first and last second of a phone's full influence, and the time constants of the
    flanks before and after."""
    length = phone.end - phone.start
    if phone.name == SILENCE:
        first = phone.start + 0.03
        return first, max(first, phone.end - 0.06), 0.030, 0.030
    if phone.name in "mf":  # a closure is short and complete
        return phone.start, phone.end - 0.15 * length, 0.020, 0.018
    return phone.start + 0.3 * length, phone.end - 0.4 * length, 0.055, 0.040
