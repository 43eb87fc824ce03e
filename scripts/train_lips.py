"""Train service/workers/puppet/lips.npz: `python -m scripts.train_lips [sentences] [epochs]`.

A developer runs it once, and the result is committed. It needs the extra rushes[avatar], and takes
more voices from libespeak-ng where that is installed; nothing of espeak-ng is shipped. The teacher
is articulation.pose_curve on the voices' own timing of phones. 1500 sentences and 40 epochs, the
defaults, take ten minutes or so on one core.
"""

import ctypes
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.avatar import SPEECH_RATE
from service.domain.speech import Phone
from service.speech.phones import split_phone
from service.workers.puppet.articulation import RATE, pose_curve
from service.workers.puppet.lips import HOP, WEIGHTS, log_mel, stack

Array = NDArray[np.float32]
NAMES = ("jaw", "wide", "round", "press", "tuck", "lift", "tongue")
HIDDEN = (144, 64)
BATCH, LEARNING_RATE, DECAY = 512, 1.5e-3, 1e-4
ESPEAK_VOICES = (
    "en-us en-gb en-us+m1 en-us+m3 en-us+m5 en-us+m7 en-us+f1 en-us+f2 en-us+f3 en-us+f4 en-us+f5 "
    "en-us+klatt2 en-us+klatt4 en-gb+m2 en-gb+m4 en-gb-scotland"
).split()
TEST_GROUPS = (10, 11)  # of every twelve sentences


@dataclass(frozen=True)
class Utterance:
    """A spoken sentence: mono samples, their rate, and when each phone is heard."""

    samples: Array
    rate: int
    phones: list[Phone]


Speaker = Callable[[str, np.random.Generator], Utterance | None]


def speakers() -> list[Speaker]:
    """Return all voices that time their phones: the only place that knows them."""
    from service.speech.hibari import installed_voices

    voice = installed_voices()[0]

    def hibari(text: str, rng: np.random.Generator) -> Utterance | None:
        speed, seed = float(rng.uniform(0.85, 1.2)), int(rng.integers(1 << 31))
        spoken = voice.speak(text, seed=seed, speed=speed)
        if spoken.phones is None:
            raise SystemExit("this release of hibari tells no phones")
        levels = np.frombuffer(spoken.samples, "<i2").astype(np.float32) / np.float32(32767)
        return Utterance(levels, spoken.rate, list(spoken.phones))

    try:
        espeak = Espeak()
    except OSError:
        print("libespeak-ng is not installed: the network learns one voice only")
        return [hibari]
    # Two of five sentences are hibari's.
    return [hibari, hibari, espeak, espeak, espeak]


class Espeak:
    """libespeak-ng, which reports each phoneme as an event."""

    class Event(ctypes.Structure):
        """espeak_EVENT of speak_lib.h; its last field is a union of 8 bytes."""

        _fields_ = (
            ("type", ctypes.c_int),
            ("unique_identifier", ctypes.c_uint),
            ("text_position", ctypes.c_int),
            ("length", ctypes.c_int),
            ("audio_position", ctypes.c_int),  # milliseconds
            ("sample", ctypes.c_int),
            ("user_data", ctypes.c_void_p),
            ("string", ctypes.c_char * 8),
        )

    PHONEME, END = 7, 0

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        # AUDIO_OUTPUT_RETRIEVAL; phoneme events in IPA.
        self._rate = self._library.espeak_Initialize(1, 0, None, 0x0001 | 0x0002)
        prototype = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(self.Event)
        )
        self._callback = prototype(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)
        self._blocks: list[Array] = []
        self._events: list[tuple[float, str]] = []

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if count > 0 and samples:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float32))
        index = 0
        while events[index].type != self.END:
            if events[index].type == self.PHONEME:
                name = bytes(events[index].string).decode(errors="ignore")
                self._events.append((events[index].audio_position / 1000, name))
            index += 1
        return 0

    def __call__(self, text: str, rng: np.random.Generator) -> Utterance | None:
        self._blocks, self._events = [], []
        content = text.encode()
        self._library.espeak_SetVoiceByName(str(rng.choice(ESPEAK_VOICES)).encode())
        self._library.espeak_SetParameter(1, int(rng.uniform(130, 210)), 0)  # words a minute
        self._library.espeak_SetParameter(3, int(rng.uniform(25, 75)), 0)  # pitch
        self._library.espeak_Synth(content, len(content) + 1, 0, 0, 0, 1, None, None)
        self._library.espeak_Synchronize()
        if not self._blocks:
            return None
        samples = np.concatenate(self._blocks) / np.float32(32768)
        events = [*self._events, (len(samples) / self._rate, "")]
        phones = [
            phone
            for (start, name), (end, _) in itertools.pairwise(events)
            for phone in split_phone(name, start, max(end, start + 0.01), False)
        ]
        return Utterance(samples, self._rate, phones)


def sentences(count: int, rng: np.random.Generator) -> list[str]:
    """Return English prose that is on every machine: docstrings of the standard library."""
    root = Path(sys.base_prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    found: set[str] = set()
    for pattern in ("*.py", "email/*.py", "asyncio/*.py"):
        for path in sorted(root.glob(pattern)):
            prose = " ".join(re.findall(r'"""(.*?)"""', path.read_text(errors="ignore"), re.DOTALL))
            for text in re.split(r"(?<=[.!?])\s+", re.sub(r"\s+", " ", prose)):
                if 30 < len(text) < 160 and re.fullmatch(r"[A-Z][a-z A-Z,;'-]+[.!?]", text):
                    found.add(text)
    result = sorted(found)
    rng.shuffle(result)
    return result[:count]


def resample(samples: Array, rate: int) -> Array:
    """Change to SPEECH_RATE by the spectrum of the whole sentence."""
    count = len(samples) * SPEECH_RATE // rate
    spectrum = np.fft.rfft(samples)[: count // 2 + 1]
    return (np.fft.irfft(spectrum, count) * (count / len(samples))).astype(np.float32)


def vary_speaker(utterance: Utterance, rng: np.random.Generator) -> Utterance:
    """Change the length of the vocal tract, pitch and pace together, as of another speaker."""
    factor = float(np.exp(rng.uniform(np.log(0.78), np.log(1.22))))
    samples = resample(utterance.samples, utterance.rate)
    at = np.arange(int(len(samples) / factor)) * factor
    samples = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
    phones = [replace(p, start=p.start / factor, end=p.end / factor) for p in utterance.phones]
    return Utterance(samples, SPEECH_RATE, phones)


def vary_recording(samples: Array, rng: np.random.Generator) -> Array:
    """Change the colour of the sound, add noise and a small room."""
    spectrum = np.fft.rfft(samples)
    kilohertz = np.linspace(0, 8, len(spectrum))
    waves = np.cos(kilohertz * rng.uniform(0.3, 1.2) + rng.uniform(0, 6))
    decibels = rng.uniform(-1.5, 1.5) * (kilohertz - 3) + rng.normal(0, 2) * waves
    if rng.random() < 0.25:  # a telephone, or an old MP3
        decibels = decibels - 40 * np.clip((kilohertz - rng.uniform(3.2, 5)) / 0.6, 0, 1)
    samples = np.fft.irfft(spectrum * 10 ** (decibels / 20), len(samples)).astype(np.float32)
    if rng.random() < 0.5:
        noise = rng.normal(0, samples.std() * 10 ** (-rng.uniform(12, 35) / 20), len(samples))
        samples = (samples + noise).astype(np.float32)
    if rng.random() < 0.3:
        count = int(0.12 * SPEECH_RATE)
        echo = rng.normal(0, 0.15, count) * np.exp(-np.arange(count) / (0.03 * SPEECH_RATE))
        echo[0] = 1
        samples = np.convolve(samples, echo)[: len(samples)].astype(np.float32)
    return samples


def examples(count: int, seed: int = 1) -> Iterator[tuple[Array, Array]]:
    """Yield what the network sees of each sentence, and the mouth that it is to answer."""
    rng = np.random.default_rng(seed)
    voices = speakers()
    for index, text in enumerate(sentences(count, rng)):
        spoken = voices[index % len(voices)](text, rng)
        if spoken is None:
            continue
        spoken = vary_speaker(spoken, rng)
        mouth = pose_curve(spoken.phones, len(spoken.samples) / SPEECH_RATE)
        pause = int(rng.uniform(0, 0.5) * RATE)
        mouth = np.concatenate([np.repeat(mouth[:1], pause, 0), mouth])
        samples = np.concatenate([np.zeros(pause * HOP, np.float32), spoken.samples])
        mel = log_mel(vary_recording(samples + np.float32(1e-5), rng))
        rows = np.arange(min(len(mel), len(mouth)))
        yield stack(mel[: len(rows)], rows).astype(np.float16), mouth[: len(rows)]


class Network:
    """Two hidden layers of rectified units, trained by Adam."""

    def __init__(self, sizes: tuple[int, ...], rng: np.random.Generator) -> None:
        pairs = list(itertools.pairwise(sizes))
        bounds = [np.sqrt(6 / (a + b)) for a, b in pairs]
        self.weights = [
            rng.uniform(-c, c, pair).astype(np.float32)
            for pair, c in zip(pairs, bounds, strict=True)
        ]
        self.biases = [np.zeros(b, np.float32) for _, b in pairs]
        self._moments = [(np.zeros_like(p), np.zeros_like(p)) for p in self.parameters]
        self._step = 0

    @property
    def parameters(self) -> list[Array]:
        return [*self.weights, *self.biases]

    def layers(self, inputs: Array) -> list[Array]:
        """Return the values of every layer, the inputs first."""
        result = [inputs]
        for index, (weights, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = result[-1] @ weights + bias
            last = index == len(self.weights) - 1
            result.append(values if last else np.maximum(values, 0))
        return result

    def learn(self, inputs: Array, targets: Array) -> float:
        """Take one step, and return the mean square error before it."""
        layers = self.layers(inputs)
        error = layers[-1] - targets
        slope = error / np.float32(len(inputs))
        of_weights: list[Array] = []
        of_biases: list[Array] = []
        for weights, values in zip(self.weights[::-1], layers[-2::-1], strict=True):
            decay = np.float32(DECAY / len(inputs)) * weights
            of_weights.insert(0, values.T @ slope + decay)
            of_biases.insert(0, slope.sum(0))
            slope = (slope @ weights.T) * (values > 0)
        self._adam([*of_weights, *of_biases])
        return float((error**2).mean())

    def _adam(self, slopes: list[Array]) -> None:
        self._step += 1
        rate = LEARNING_RATE * np.sqrt(1 - 0.999**self._step) / (1 - 0.9**self._step)
        for parameter, slope, (mean, square) in zip(
            self.parameters, slopes, self._moments, strict=True
        ):
            mean += np.float32(0.1) * (slope - mean)
            square += np.float32(0.001) * (slope**2 - square)
            parameter -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(1e-8))

    def save(self, path: Path) -> None:
        named = {f"w{index}": weights for index, weights in enumerate(self.weights)}
        named |= {f"b{index}": bias for index, bias in enumerate(self.biases)}
        arrays: dict[str, Any] = {name: value.astype(np.float16) for name, value in named.items()}
        np.savez_compressed(path, **arrays)


def main(count: int = 1500, epochs: int = 40) -> None:
    train: list[tuple[Array, Array]] = []
    test: list[tuple[Array, Array]] = []
    for index, example in enumerate(examples(count)):
        (test if index % 12 in TEST_GROUPS else train).append(example)
    inputs, targets = (np.concatenate(part) for part in zip(*train, strict=True))
    print(f"{len(inputs) / RATE:.0f} s of speech")
    rng = np.random.default_rng(0)
    network = Network((inputs.shape[1], *HIDDEN, targets.shape[1]), rng)
    for epoch in range(epochs):
        order = rng.permutation(len(inputs))
        batches = [order[first : first + BATCH] for first in range(0, len(order), BATCH)]
        errors = [network.learn(inputs[b].astype(np.float32), targets[b]) for b in batches]
        print(f"epoch {epoch + 1}: error {np.mean(errors):.5f}")
    inputs, targets = (np.concatenate(part) for part in zip(*test, strict=True))
    answers = network.layers(inputs.astype(np.float32))[-1]
    for index, name in enumerate(NAMES):
        r = np.corrcoef(answers[:, index], targets[:, index])[0, 1]
        print(f"{name:7} r {r:.3f} on sentences that it did not learn")
    network.save(WEIGHTS)


if __name__ == "__main__":
    main(*(int(value) for value in sys.argv[1:3]))
