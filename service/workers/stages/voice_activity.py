"""Check that a sound can be a voice, and what is wrong with it if not."""

import numpy as np
from numpy.typing import NDArray

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.avatar import MIN_AUDIO_SECONDS
from service.workers.adapters.base import AUDIO_RATE

_MIN_PEAK = 10 ** (-50 / 20)  # -50 dB: below it nobody speaks
_BLOCK = AUDIO_RATE // 10
# A level that changes less is that of a tone or of noise. Speech changes by 15 dB and more, and
# still by 6 dB in noise that is as loud.
_MIN_CHANGE_DB = 2.5
_MIN_BLOCKS = 20  # in a shorter recording somebody may sing one vowel
# Speech is what is louder than this share of the way from the quietest to the loudest, in dB.
_STEP = AUDIO_RATE // 100
_SHARE, _MAX_BELOW_DB = 0.35, 35.0
_MIN_PAUSE, _MIN_SPEECH = 0.18, 0.05  # seconds


def check_speech_heard(sound: NDArray[np.int16]) -> None:
    """Check int16 samples, (samples, channels) at AUDIO_RATE.

    Raises AttemptFailed (user): `audio_too_short`, `audio_silent` or `audio_without_speech`. Music
    without a voice is not told from one with a voice.
    """
    seconds = len(sound) / AUDIO_RATE
    if seconds < MIN_AUDIO_SECONDS:
        raise _refused(
            "audio_too_short",
            f"the voice lasts {seconds:.2f} s, and at least {MIN_AUDIO_SECONDS:g} s are needed; "
            "send a longer one",
        )
    levels, peak = _levels(sound)
    if peak < _MIN_PEAK:
        raise _refused(
            "audio_silent",
            "nobody speaks in the audio: it is silent; send a recording with a voice",
        )
    if len(levels) >= _MIN_BLOCKS and np.subtract(*np.percentile(levels, [95, 5])) < _MIN_CHANGE_DB:
        raise _refused(
            "audio_without_speech",
            "nobody speaks in the audio: it is a steady tone or noise; send a recording with a "
            "voice",
        )


def speech_stretches(sound: NDArray[np.int16]) -> list[tuple[float, float]]:
    """Return the start and end, in seconds, of each stretch of speech between two pauses."""
    blocks = sound[: len(sound) // _STEP * _STEP].reshape(-1, _STEP, sound.shape[1])
    power = [float(np.mean((block.astype(np.float32) / 32768) ** 2)) for block in blocks]
    level = np.convolve(10 * np.log10(np.array(power) + 1e-10), np.ones(3) / 3, "same")
    low, high = np.percentile(level, [5, 95])
    is_loud = level > max(low + _SHARE * (high - low), high - _MAX_BELOW_DB)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_loud.astype(int), [0]]))) / 100
    stretches: list[tuple[float, float]] = []
    for start, end in edges.reshape(-1, 2).tolist():
        if stretches and start - stretches[-1][1] < _MIN_PAUSE:
            stretches[-1] = (stretches[-1][0], end)
        else:
            stretches.append((start, end))
    return [(start, end) for start, end in stretches if end - start >= _MIN_SPEECH]


def _levels(sound: NDArray[np.int16]) -> tuple[NDArray[np.float64], float]:
    """Return the level of each tenth of a second in dB, and the highest sample, 0 to 1."""
    levels, peak = [], 0.0
    for start in range(0, len(sound), _BLOCK):
        block = sound[start : start + _BLOCK].astype(np.float32) / 32768
        peak = max(peak, float(np.abs(block).max()))
        if len(block) == _BLOCK:
            levels.append(10 * np.log10(np.mean(block**2) + 1e-10))
    return np.array(levels, float), peak


def _refused(code: str, message: str) -> AttemptFailed:
    return AttemptFailed(FailureKind.USER, code, message)
