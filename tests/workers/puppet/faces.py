"""Photos for the puppet's tests, all drawn: no person's face is in the repository."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from service.domain.avatar import SPEECH_RATE
from service.domain.speech import Phone
from service.speech.phones import split_phone
from service.workers.adapters.base import Frame
from service.workers.puppet.articulation import Waveform
from service.workers.puppet.face import FaceFinder
from service.workers.puppet.photo import Portrait, frame_portrait

PRESENTER = Path(__file__).parent / "data" / "presenter.png"


@cache
def finder() -> FaceFinder:
    return FaceFinder()


def presenter() -> Frame:
    """A drawn person: 600 x 600, skin that the colour check knows."""
    return np.array(Image.open(PRESENTER).convert("RGB"))


@cache
def portrait(width: int = 512, height: int = 512) -> Portrait:
    return frame_portrait(presenter(), width, height, finder())


def smiley() -> Frame:
    image = np.full((512, 512, 3), 255, np.uint8)
    cv2.circle(image, (256, 256), 200, (255, 220, 0), -1)
    cv2.circle(image, (190, 200), 22, (0, 0, 0), -1)
    cv2.circle(image, (322, 200), 22, (0, 0, 0), -1)
    cv2.ellipse(image, (256, 280), (110, 90), 0, 10, 170, (0, 0, 0), 12)
    return image


def cat() -> Frame:
    image = np.full((512, 512, 3), (120, 150, 110), np.uint8)
    fur, dark = (150, 110, 70), (40, 30, 20)
    for ear in ([(110, 240), (130, 60), (240, 150)], [(402, 240), (382, 60), (272, 150)]):
        cv2.fillPoly(image, [np.array(ear, np.int32)], fur)
    cv2.ellipse(image, (256, 280), (160, 140), 0, 0, 360, fur, -1)
    for x in (190, 322):
        cv2.ellipse(image, (x, 250), (34, 28), 0, 0, 360, (190, 200, 60), -1)
        cv2.ellipse(image, (x, 250), (8, 26), 0, 0, 360, dark, -1)
    cv2.fillPoly(image, [np.array([(236, 310), (276, 310), (256, 332)], np.int32)], (200, 120, 120))
    for side in (-1, 1):
        cv2.ellipse(image, (256 + side * 22, 340), (22, 16), 0, 0, 180, dark, 3)
        for rise in (-20, 0, 20):
            cv2.line(image, (256 + side * 50, 330), (256 + side * 190, 325 + rise), (230, 230, 230))
    return image


def babble(pattern: str, seconds: float = 0.09) -> list[Phone]:
    """Speak the letters of a pattern one after the other, from 0.2 s on."""
    phones: list[Phone] = []
    start = 0.2
    for letter in pattern:
        phones += split_phone(letter, start, start + seconds, False)
        start += seconds
    return phones


def syllables(seconds: float, seed: int = 0) -> Waveform:
    """A voice without words: syllables of uneven length, some louder than others, and pauses."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * SPEECH_RATE)) / SPEECH_RATE
    level = np.zeros(len(times))
    start = 0.25
    while start < seconds - 0.3:
        length = rng.uniform(0.12, 0.30)
        inside = np.clip((times - start) / length, 0, 1)
        level += rng.uniform(0.4, 1.0) * np.sin(np.pi * inside) ** 2
        start += length + (rng.uniform(0.3, 0.6) if rng.random() < 0.2 else rng.uniform(0.0, 0.12))
    # A buzz with two resonances, as of an open vowel.
    buzz = sum(
        gain * np.sin(2 * np.pi * 120 * number * times)
        for number in range(1, 30)
        for gain in [1 / (1 + ((120 * number - 700) / 200) ** 2) + 0.3 / number]
    )
    noise = rng.normal(0, 0.001, len(times))
    return (0.08 * level * np.asarray(buzz) + noise).astype(np.float32)
