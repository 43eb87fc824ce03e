"""Mouths read from the sound alone."""

import numpy as np

from service.domain.avatar import SPEECH_RATE
from service.workers.puppet.articulation import JAW, RATE
from service.workers.puppet.lips import BANDS, LipReader, log_mel
from tests.workers.puppet.faces import syllables


def test_the_mouth_opens_with_the_voice_and_rests_in_pauses() -> None:
    sound = syllables(4.0)
    sound[2 * SPEECH_RATE : 3 * SPEECH_RATE] = 0

    curve = LipReader().read(sound)

    assert curve.shape == (4 * RATE, 7)
    assert curve.dtype == np.float32
    assert (curve[:, JAW].max(), curve.max()) <= (1.0, 1.0)
    assert curve[50:180, JAW].max() > 0.3
    assert curve[230:270, JAW].max() < 0.1


def test_the_opening_follows_the_level() -> None:
    sound = syllables(8.0, seed=3)
    level = np.sqrt((sound.reshape(-1, SPEECH_RATE // RATE) ** 2).mean(1))

    opening = LipReader().read(sound)[:, JAW]

    assert np.corrcoef(np.convolve(level, np.ones(7) / 7, "same"), opening)[0, 1] > 0.5


def test_silence_is_a_mouth_at_rest_and_has_no_nan() -> None:
    curve = LipReader().read(np.zeros(2 * SPEECH_RATE, np.float32))

    assert np.isfinite(curve).all()


def test_a_quiet_recording_is_read_as_a_loud_one() -> None:
    sound = syllables(3.0)

    loud, quiet = LipReader().read(sound), LipReader().read(sound * np.float32(0.1))

    assert np.abs(loud - quiet).max() < 0.1


def test_the_same_sound_gives_the_same_bits() -> None:
    sound = syllables(1.5)

    assert np.array_equal(LipReader().read(sound), LipReader().read(sound))


def test_features_are_one_row_a_hop() -> None:
    assert log_mel(np.zeros(SPEECH_RATE + 1, np.float32)).shape == (RATE + 1, BANDS)
    assert len(log_mel(np.zeros(0, np.float32))) == 1


def test_a_long_sound_is_read_as_its_parts_are() -> None:
    sound = np.tile(syllables(5.0), 12)  # more than a block of features

    curve = LipReader().read(sound)

    # Away from its ends, every repetition has the same mouth.
    assert np.abs(curve[500:1000] - curve[4000:4500])[50:-50].max() < 1e-4
