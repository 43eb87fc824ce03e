"""Motion besides the lips: it belongs to the seed and the sound."""

import numpy as np
import pytest

from service.domain.avatar import FPS
from service.workers.puppet.articulation import Waveform
from service.workers.puppet.lips import LipReader
from service.workers.puppet.motion import Motion, accents, direct, loudness
from tests.workers.puppet.faces import syllables


def motion_of(sound: Waveform, num_frames: int, seed: int = 1) -> Motion:
    return direct(LipReader().read(sound), sound, num_frames, seed)


def test_the_same_seed_moves_the_same_way_and_another_one_does_not() -> None:
    sound = syllables(6.0)

    one, again, other = (motion_of(sound, 150, seed) for seed in (1, 1, 2))

    for name, curve in vars(one).items():
        assert np.array_equal(curve, vars(again)[name])
        if name != "mouth":
            assert not np.array_equal(curve, vars(other)[name])


@pytest.mark.parametrize("num_frames", [10, 100, 150, 400])
def test_a_frame_does_not_depend_on_the_number_of_frames(num_frames: int) -> None:
    sound = syllables(6.0)

    whole, part = motion_of(sound, 400), motion_of(sound, num_frames)

    for name, curve in vars(part).items():
        assert len(curve) == num_frames
        assert np.array_equal(curve, vars(whole)[name][:num_frames])


def test_eyes_blink_every_few_seconds_and_open_in_between() -> None:
    for seed in range(5):
        sound = np.tile(syllables(6.0, seed), 10)
        blink = motion_of(sound, 60 * FPS, seed).blink
        begins = np.flatnonzero((blink[1:] > 0) & (blink[:-1] == 0))

        assert 8 <= len(begins) <= 40
        assert np.diff(begins).min() >= FPS
        assert blink.max() == 1.0
        assert (blink == 0).mean() > 0.8


def test_the_head_moves_little_and_without_jumps() -> None:
    motion = motion_of(np.tile(syllables(6.0), 5), 30 * FPS)

    for curve, highest in ((motion.yaw, 3.2), (motion.pitch, 2.6), (motion.roll, 2.2)):
        assert 0.2 < np.abs(curve).max() <= highest
        assert np.abs(np.diff(curve)).max() < 0.5


def test_the_head_is_livelier_in_speech_than_in_silence() -> None:
    sound = np.tile(syllables(6.0), 5)
    silence = np.zeros_like(sound)

    speaking = [np.std(motion_of(sound, 750, seed).pitch) for seed in range(4)]
    silent = [np.std(motion_of(silence, 750, seed).pitch) for seed in range(4)]

    assert np.mean(speaking) > np.mean(silent)


def test_accents_are_where_it_is_loud() -> None:
    loud = loudness(syllables(20.0), 500)

    found = accents(loud)

    assert len(found) > 3
    assert loud[found].mean() > loud.mean() + 0.1
    assert np.diff(found).min() >= 9
