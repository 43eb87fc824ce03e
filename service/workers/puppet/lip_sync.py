"""An experimental score of how well the mouth in a finished video moves with its sound.

The opening of the mouth is compared with the level of the voice. It tells that the mouth moves with
this sound, and how far apart they are, but not that the shapes of the lips are right; it was never
calibrated on real people, and does not rank models.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np

from service.domain.attempt import LipSync
from service.domain.avatar import FPS
from service.workers.adapters.base import Frame
from service.workers.puppet.articulation import RATE, Waveform
from service.workers.puppet.face import INNER_LIPS, FaceFinder, Mesh, Reals
from service.workers.puppet.lips import log_mel
from service.workers.stages.inputs.ffmpeg import (
    MediaTimeout,
    UnreadableMedia,
    ffmpeg_output,
)

METHOD = "envelope"
_SIDE = 512  # pixels of the square that frames are fitted into
_TIMEOUT = timedelta(minutes=10)
_GAPS = (INNER_LIPS, (81, 178), (311, 402))  # pairs of points across the mouth
_MIN_FRAMES, _MIN_COVERAGE = 40, 0.6
_STILL = 0.006  # deviation of the gap, in eye distances
_SILENT = 10 ** (-55 / 20)  # root of the mean square
_VOICE = slice(4, 24)  # bands of the voice
_PASSBAND = (0.5, 8.0)  # hertz, of syllables
_MAX_LAG = 15  # frames
_MIN_SHIFT, _NUM_SHIFTS = 35, 120  # to measure chance by
_CHANCE_OF_SHORT, _SHORT = 0.35, 90  # frames below which chance is not measured
_SURE, _ABOVE_CHANCE = 0.52, 0.12  # the correlation that scores 1
_IN_SYNC, _OUT_OF_SYNC = 60, 200  # milliseconds: no loss, and from there to no score


def _ignore(_frames: int) -> None:
    """Do nothing after a frame."""


def score(video: Path, sound: Waveform, on_frame: Callable[[int], None] = _ignore) -> LipSync:
    """Compare a video with the sound, of 16 kHz, that is heard with it from its first frame.

    `on_frame` is called after each frame with its number, from 1; what it raises ends the work.
    """
    try:
        gaps = track_mouth(video, on_frame)
    except MediaTimeout:
        return _result(None, "this machine is too slow to measure it")
    except UnreadableMedia:
        return _result(None, "the video cannot be read")
    return compare(gaps, sound)


def compare(gaps: Reals, sound: Waveform) -> LipSync:
    """Compare what track_mouth returned with a sound."""
    if len(gaps) < _MIN_FRAMES:
        return _result(None, "the video is too short")
    coverage = round(float(np.isfinite(gaps).mean()), 3)
    if coverage < _MIN_COVERAGE:
        return _result(None, "too few frames show a face", coverage)
    if not len(sound) or np.sqrt(np.mean(sound.astype(float) ** 2)) < _SILENT:
        return _result(None, "there is no sound", coverage)
    mouth = _clean(gaps)
    if mouth.std() < _STILL:
        return _result(0.0, "the mouth does not move", coverage)
    voice = _band(_clean(_voice_level(sound, len(mouth))))
    mouth = _band(mouth)
    lags = np.arange(-_MAX_LAG, _MAX_LAG + 1)
    matches = np.array([_correlation(voice, mouth, int(lag)) for lag in lags])
    best = int(matches.argmax())
    chance = _chance(voice, mouth)
    full = max(_SURE, chance + _ABOVE_CHANCE)
    strength = np.clip((matches[best] - chance * 0.75) / (full - chance * 0.75), 0, 1)
    offset = -(float(lags[best]) + _vertex(matches, best)) * 1000 / FPS
    sync = np.clip(1 - max(0.0, abs(offset) - _IN_SYNC) / _OUT_OF_SYNC, 0, 1)
    # The score is 1 for most that is in sync: r and offset_ms tell more.
    return LipSync(
        score=round(float(strength * sync), 3),
        method=METHOD,
        offset_ms=round(offset),
        r=round(float(matches[best]), 3),
        face_coverage=coverage,
    )


def _result(score: float | None, reason: str, coverage: float | None = None) -> LipSync:
    """Return a result that was not measured by a correlation."""
    return LipSync(score=score, method=METHOD, reason=reason, face_coverage=coverage)


def track_mouth(video: Path, on_frame: Callable[[int], None] = _ignore) -> Reals:
    """Return how far the mouth is open in each frame at FPS, in eye distances; NaN: no face."""
    finder = FaceFinder()
    gaps: list[float] = []
    mesh: Mesh | None = None
    for frame in _read_frames(video):
        mesh = None if mesh is None else finder.track(frame, mesh.points)
        if mesh is None or not mesh.is_face:
            mesh = _first_face(finder, frame)
        gaps.append(float("nan") if mesh is None else mouth_gap(mesh))
        on_frame(len(gaps))
    return np.array(gaps, float)


def _read_frames(video: Path) -> Iterator[Frame]:
    fit = f"scale={_SIDE}:{_SIDE}:force_original_aspect_ratio=decrease"
    pad = f"pad={_SIDE}:{_SIDE}:(ow-iw)/2:(oh-ih)/2"
    options = f"-map 0:V:0 -vf fps={FPS},{fit},{pad} -f rawvideo -pix_fmt rgb24"
    size = _SIDE * _SIDE * 3
    with ffmpeg_output(video, options, _TIMEOUT) as stream:
        while len(pixels := stream.read(size)) == size:
            yield np.frombuffer(pixels, np.uint8).reshape(_SIDE, _SIDE, 3)


def _first_face(finder: FaceFinder, frame: Frame) -> Mesh | None:
    meshes = (finder.mesh(frame, box) for box in finder.detect(frame))
    return next((mesh for mesh in meshes if mesh.is_face), None)


def mouth_gap(mesh: Mesh) -> float:
    """Return how far a mouth is open, in eye distances."""
    lengths = [np.linalg.norm(mesh.points[a, :2] - mesh.points[b, :2]) for a, b in _GAPS]
    return float(np.mean(lengths)) / mesh.eye_distance


def _voice_level(sound: Waveform, count: int) -> Reals:
    """Return the level of the voice in the middle of each frame, in nepers."""
    level = np.clip(log_mel(sound)[:, _VOICE].max(1), -9, 0)
    step = RATE // FPS
    mean = np.convolve(level, np.ones(step) / step, "same")
    middle = (np.arange(count) + 0.5) * step - 0.5
    result: Reals = np.interp(middle, np.arange(len(mean)), mean).astype(float)
    return result


def _clean(values: Reals) -> Reals:
    """Fill gaps, and take out what stands alone."""
    (places,) = np.nonzero(np.isfinite(values))
    full = np.interp(np.arange(len(values)), places, values[places])
    wide = np.pad(full, 1, mode="edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(wide, 3), axis=1)
    result: Reals = np.clip(middle, *np.percentile(middle, [2, 98]))
    return result


def _band(values: Reals) -> Reals:
    """Keep the frequencies of syllables."""
    frequencies = np.fft.rfftfreq(len(values), 1 / FPS)
    spectrum = np.fft.rfft(values - values.mean())
    spectrum[(frequencies < _PASSBAND[0]) | (frequencies > _PASSBAND[1])] = 0
    result: Reals = np.fft.irfft(spectrum, len(values))
    return result


def _correlation(a: Reals, b: Reals, lag: int) -> float:
    """Return the correlation of a[t] with b[t + lag]."""
    count = len(a) - abs(lag)
    first, second = a[max(0, -lag) :][:count], b[max(0, lag) :][:count]
    first, second = first - first.mean(), second - second.mean()
    power = (first**2).sum() * (second**2).sum()
    return float((first * second).sum() / np.sqrt(power + 1e-12))


def _chance(voice: Reals, mouth: Reals) -> float:
    """Return the correlation that one in twenty unrelated pairs of such curves reaches."""
    if len(mouth) <= _SHORT:
        return _CHANCE_OF_SHORT
    rng = np.random.default_rng(0)
    shifts = rng.integers(_MIN_SHIFT, len(mouth) - _MIN_SHIFT, _NUM_SHIFTS)
    best = [
        max(_correlation(voice, np.roll(mouth, int(shift)), lag) for lag in range(-6, 7, 2))
        for shift in shifts
    ]
    return float(np.percentile(best, 95))


def _vertex(values: Reals, index: int) -> float:
    """Return how far the top of the parabola through a peak and its neighbours is from it."""
    if not 0 < index < len(values) - 1:
        return 0.0
    before, top, after = values[index - 1 : index + 2].tolist()
    bend = before - 2 * top + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0
