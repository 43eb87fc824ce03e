"""Motion besides the lips: blinks, brows, head, nods and breath, from the sound and a seed.

Frame k depends on the seed and the sound alone, not on the number of frames: a process that starts
anywhere draws the same ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.avatar import FPS, SPEECH_RATE
from service.workers.puppet.articulation import RATE, Curve, Waveform, smooth
from service.workers.puppet.face import Reals
from service.workers.puppet.pose import Pose

_HOP = SPEECH_RATE // FPS
_RANGE = 40  # decibels from silence to loud speech
_TAIL = 80  # frames of silence after the sound, more than any blur sees
_BLINK = (0.40, 0.95, 1.0, 0.70, 0.35, 0.12)  # one frame each
_FIRST_BLINK, _NEXT_BLINK = (0.8, 2.2), (1.2, 7.5)  # seconds
_BLINK_CHOICE = 12  # frames, of which the quietest begins it
_MIN_BETWEEN = 9  # frames between accents
# Degrees, and for brows 1, that motion approaches but never exceeds.
_MAX_YAW, _MAX_PITCH, _MAX_ROLL, _MAX_BROW = 3.2, 2.6, 2.2, 1.0
_STEPS = 4  # of the spring, in a frame
_DAMPING = 0.8  # of the spring: it goes slightly too far


@dataclass(frozen=True)
class Motion:
    """Values of each frame: (frames,), in the units of Pose; the mouth is (frames, 7)."""

    mouth: Curve
    blink: Reals
    brow: Reals
    yaw: Reals
    pitch: Reals
    roll: Reals
    dx: Reals
    dy: Reals
    breath: Reals

    def pose(self, index: int) -> Pose:
        """Return the pose of a frame."""
        values = {
            name: float(curve[index]) for name, curve in vars(self).items() if name != "mouth"
        }
        return Pose(mouth=self.mouth[index], **values)


def direct(lips: Curve, sound: Waveform, num_frames: int, seed: int) -> Motion:
    """Return the motion of `num_frames` frames at FPS; after the sound the face rests."""
    count = max(num_frames, -(-len(sound) // _HOP)) + _TAIL
    loud = loudness(sound, count)
    nod, brow, tilt = _gestures(loud, _stream(seed, 0))
    talk = smooth(np.asarray(loud > 0.25, float), 6)
    live = 0.45 + 0.55 * talk
    wander = [_wander(count, _stream(seed, index), seconds) for index, seconds in _WANDERINGS]
    yaw = 1.5 * wander[0] * live + 0.8 * wander[1] * talk
    pitch = 0.7 * wander[2] * live + 1.5 * nod
    roll = 0.8 * wander[3] * live + 0.9 * tilt
    phase = _stream(seed, 20).uniform(0, 2 * np.pi)
    times = np.arange(count) / FPS
    return Motion(
        mouth=_mouth(lips, num_frames),
        blink=_blinks(loud, _stream(seed, 21))[:num_frames],
        brow=_limit(0.8 * brow + 0.10 * wander[6], _MAX_BROW)[:num_frames],
        yaw=_limit(yaw, _MAX_YAW)[:num_frames],
        pitch=_limit(pitch, _MAX_PITCH)[:num_frames],
        roll=_limit(roll, _MAX_ROLL)[:num_frames],
        dx=(0.012 * wander[4])[:num_frames],
        dy=(0.006 * wander[5] + 0.010 * nod)[:num_frames],
        breath=np.sin(2 * np.pi * times / 3.9 + phase)[:num_frames],
    )


# Streams of random numbers for yaw twice, pitch, roll, dx, dy and brows, and how slow they are.
_WANDERINGS = ((1, 1.6), (2, 0.7), (3, 1.3), (4, 2.0), (5, 2.2), (6, 1.8), (7, 1.0))


def loudness(sound: Waveform, count: int) -> Reals:
    """Return the level in each of `count` frames, 0 to 1: loud speech of this sound is about 1."""
    samples = np.zeros(count * _HOP, np.float32)
    length = min(len(sound), len(samples))
    samples[:length] = sound[:length]
    decibels = 10 * np.log10((samples.reshape(count, _HOP) ** 2).mean(1) + 1e-10)
    speech = decibels[: max(1, -(-length // _HOP))]
    top = max(float(np.percentile(speech, 95)), -60.0)
    result: Reals = np.clip((decibels - top) / _RANGE + 1, 0, 1).astype(float)
    return result


def accents(loud: Reals) -> NDArray[np.intp]:
    """Return the frames of stressed syllables: peaks above the second and a half around them."""
    level, base = smooth(loud, 1.5), smooth(loud, 18)
    middle = np.arange(2, len(level) - 2)
    highest = np.lib.stride_tricks.sliding_window_view(level, 5).max(1)
    is_peak = (level[middle] == highest) & (level[middle] - base[middle] > 0.10)
    result: list[int] = []
    for index in middle[is_peak & (level[middle] > 0.55)].tolist():
        if not result or index - result[-1] >= _MIN_BETWEEN:
            result.append(index)
    return np.array(result, np.intp)


def _stream(seed: int, number: int) -> np.random.Generator:
    """Return random numbers of their own, so that the first do not depend on how many are drawn."""
    return np.random.default_rng([seed, 0xFACE, number])


def _wander(count: int, rng: np.random.Generator, seconds: float) -> Reals:
    """Return smooth noise of unit deviation that is slower than `seconds`."""
    sigma = seconds * FPS / 2.5
    margin = int(4 * sigma) + 1
    noise = smooth(rng.normal(0, 1, count + 2 * margin), sigma)[margin : margin + count]
    return noise * float(np.sqrt(2 * sigma * np.sqrt(np.pi)))


def _gestures(loud: Reals, rng: np.random.Generator) -> tuple[Reals, Reals, Reals]:
    """Return nods, raised brows and tilts of the head on some of the accents."""
    nod, brow, tilt = np.zeros((3, len(loud)))
    frames = np.arange(len(loud))
    for index in accents(loud):
        strength, side = rng.uniform(0.5, 1.0), rng.choice([-1.0, 1.0])
        has_nod, has_brow, has_tilt = rng.random(3) < (0.75, 0.30, 0.25)
        away = frames - index
        nod += has_nod * strength * np.exp(-0.5 * (away / 3.0) ** 2)
        brow += has_brow * strength * np.exp(-0.5 * ((away - 1) / 5.0) ** 2)
        tilt += has_tilt * strength * side * np.exp(-0.5 * (away / 8.0) ** 2)
    return _spring(nod, 2.2), brow, _spring(tilt, 1.4)


def _spring(target: Reals, hertz: float) -> Reals:
    """Follow `target` as a mass on a spring: the head lags and goes slightly too far."""
    stiffness, step = 2 * np.pi * hertz, 1 / (FPS * _STEPS)
    place, speed = 0.0, 0.0
    result = np.empty(len(target))
    for index, aim in enumerate(target.tolist()):
        for _ in range(_STEPS):
            force = stiffness**2 * (aim - place) - 2 * _DAMPING * stiffness * speed
            speed += force * step
            place += speed * step
        result[index] = place
    return result


def _blinks(loud: Reals, rng: np.random.Generator) -> Reals:
    """Return how far the eyes are shut: every 2 to 6 seconds, rather in a pause."""
    result = np.zeros(len(loud) + _BLINK_CHOICE + len(_BLINK))
    seconds = rng.uniform(*_FIRST_BLINK)
    while (first := int(seconds * FPS)) < len(loud) - _BLINK_CHOICE:
        noise = rng.uniform(0, 0.3, _BLINK_CHOICE)
        first += int(np.argmin(loud[first : first + _BLINK_CHOICE] + noise))
        result[first : first + len(_BLINK)] = _BLINK
        pause = np.clip(rng.lognormal(np.log(3.2), 0.45), *_NEXT_BLINK)
        seconds = first / FPS + float(pause)
    return result[: len(loud)]


def _mouth(lips: Curve, num_frames: int) -> Curve:
    """Return the mouth in the middle of each frame, averaged over two thirds of it."""
    middle = (np.arange(num_frames) + 0.5) * RATE / FPS - 0.5
    grid = np.arange(len(lips))
    result = np.zeros((num_frames, lips.shape[1]))
    for offset in (-1.2, 0.0, 1.2):
        for part, curve in enumerate(lips.T):
            result[:, part] += np.interp(middle + offset, grid, curve) / 3
    return result.astype(np.float32)


def _limit(values: Reals, highest: float) -> Reals:
    result: Reals = highest * np.tanh(values / highest)
    return result
