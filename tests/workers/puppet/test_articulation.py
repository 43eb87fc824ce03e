"""Mouths shaped by timed sounds."""

import numpy as np
import pytest

from service.domain.speech import Phone
from service.workers.puppet.articulation import (
    JAW,
    LIFT,
    PRESS,
    RATE,
    REST,
    ROUND,
    TONGUE,
    TUCK,
    WIDE,
    pose_curve,
    smooth,
)
from tests.workers.puppet.faces import babble


def at(curve: np.ndarray, seconds: float) -> np.ndarray:
    return curve[round(seconds * RATE)]


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.234, 20.0])
def test_the_curve_covers_the_sound(seconds: float) -> None:
    curve = pose_curve(babble("ama"), seconds)

    assert curve.shape == (int(np.ceil(seconds * RATE)), 7)
    assert curve.dtype == np.float32
    assert curve.min() >= 0
    assert curve.max() <= 1


def test_without_sounds_the_mouth_rests() -> None:
    assert np.allclose(pose_curve([], 1.0), REST, atol=0.005)


@pytest.mark.parametrize("consonant", ["m", "b", "p"])
def test_lips_press_on_a_bilabial_and_part_before_and_after(consonant: str) -> None:
    curve = pose_curve(babble(f"a{consonant}a", 0.12), 0.8)

    assert at(curve, 0.37)[PRESS] > 0.9
    assert at(curve, 0.37)[JAW] < 0.15
    assert at(curve, 0.27)[JAW] > 0.3
    assert at(curve, 0.50)[JAW] > 0.3


@pytest.mark.parametrize(
    ("sound", "part"),
    [("f", TUCK), ("v", TUCK), ("s", LIFT), ("l", TONGUE), ("w", ROUND), ("i", WIDE), ("u", ROUND)],
)
def test_each_sound_has_its_shape(sound: str, part: int) -> None:
    with_sound = pose_curve(babble(f"ə{sound}ə", 0.12), 0.8)
    without = pose_curve(babble("əəə", 0.12), 0.8)

    assert at(with_sound, 0.38)[part] > at(without, 0.38)[part] + 0.2


def test_an_open_vowel_opens_wider_than_a_close_one_and_stress_wider_still() -> None:
    openings = [at(pose_curve(babble(vowel, 0.2), 0.8), 0.3)[JAW] for vowel in "iəa"]
    stressed = at(pose_curve([Phone(0.2, 0.4, "a", is_stressed=True)], 0.8), 0.3)[JAW]

    assert openings == sorted(openings)
    assert stressed > openings[-1]


def test_rounding_begins_in_the_consonant_before_a_round_vowel() -> None:
    before_round = at(pose_curve(babble("tu", 0.12), 0.8), 0.28)[ROUND]
    before_wide = at(pose_curve(babble("ti", 0.12), 0.8), 0.28)[ROUND]

    assert before_round > before_wide + 0.2


def test_lips_close_in_a_pause() -> None:
    phones = [Phone(0.2, 0.5, "a"), Phone(1.2, 1.5, "a")]

    curve = pose_curve(phones, 2.0)

    assert at(curve, 0.85)[JAW] < 0.1
    assert at(curve, 1.9)[JAW] < 0.1


def test_a_blur_gives_the_same_bits_whatever_follows() -> None:
    values = np.random.default_rng(0).normal(0, 1, 500)

    short, long = smooth(values[:300], 3.0), smooth(values, 3.0)

    assert np.array_equal(short[:290], long[:290])
