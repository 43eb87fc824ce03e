"""The offline voice: hibari, whose model comes with its package. Run by hibari_program.py."""

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.attempt import AttemptFailed
from service.domain.speech import MAX_CHARACTERS
from service.speech.base import (
    InformedVoice,
    Spoken,
    VoiceInfo,
    has_sound,
    latin_text,
    text_failure,
)
from service.speech.hibari_script import Passage, passages, split_words
from service.speech.hibari_timing import (
    DURATIONS,
    RATE,
    Samples,
    Sound,
    fits,
    phones_of,
    sounds,
    trim,
    with_extra_output,
    words_of,
)

PREFIX = "hibari-"
_MAX_PHONEMES = 4 * MAX_CHARACTERS  # of a text: a number is read as many words
_THREADS = 1
# Raised by hibari for numbers of hundreds of digits, and for digits such as a circled one.
_UNREADABLE = (ValueError, IndexError)


@dataclass(frozen=True)
class _Engine:
    """A model in memory. `is_timed`: its last output is the durations."""

    tts: Any
    is_timed: bool


class HibariVoice(InformedVoice):
    """A voice of hibari. Its model is read at the first text, and stays in memory: 240 MB, or 370
    MB with the longest text.

    One seed gives one sound, bit for bit, on one machine.
    """

    def __init__(
        self, name: str, model: Path, language: str, gender: str = "", tensor: str = DURATIONS
    ) -> None:
        """`model` is an ONNX file; `tensor` is the name of the durations in it."""
        super().__init__(
            VoiceInfo(
                id=f"{PREFIX}{name}",
                name=name.capitalize(),
                language=language,
                provider="hibari",
                gender=gender,
                has_words=True,
                latin_only=True,
            )
        )
        self._voice = name
        self._model = model
        self._tensor = tensor
        self._lock = threading.Lock()
        self._engine: _Engine | None = None

    def speak(self, text: str, *, seed: int, speed: float) -> Spoken:
        """Speak an English text; see Voice. Words of other scripts are passed over."""
        self.check(text, speed)
        text, unspoken = latin_text(text)
        with self._lock:
            self._engine = self._engine or self._load()
            engine = self._engine
            if engine.is_timed:
                speech = _speak(engine.tts, text, seed, speed)
                if speech is not None:
                    return replace(speech, unspoken=unspoken + speech.unspoken)
                self._engine = engine = _Engine(self._plain(), is_timed=False)
            return replace(_speak_untimed(engine.tts, text, seed, speed), unspoken=unspoken)

    def _load(self) -> _Engine:
        """Read the model, with its durations if it is of the release that has them."""
        from hibari import Hibari
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph

        model = with_extra_output(self._model.read_bytes(), self._tensor)
        try:
            # hibari gives its `model` to the runtime, which takes the bytes of a file as well.
            tts = Hibari(voice=self._voice, model=model, threads=_THREADS)
        except (Fail, InvalidGraph):  # it has no such tensor
            return _Engine(self._plain(), is_timed=False)
        return _Engine(tts, is_timed=True)

    def _plain(self) -> Any:
        from hibari import Hibari

        return Hibari(voice=self._voice, model=str(self._model), threads=_THREADS)


def installed_voices() -> list[HibariVoice]:
    """Return the voices whose models are on this machine; none is downloaded."""
    from hibari.voices import VOICES, voice_path

    voices = []
    for name, facts in VOICES.items():
        try:
            path = Path(voice_path(name, download_missing=False))
        except FileNotFoundError:
            continue
        voices.append(HibariVoice(name, path, facts["language"], facts["gender"]))
    return voices


def _speak(tts: Any, text: str, seed: int, speed: float) -> Spoken | None:
    """Speak with times. Return None when this release does not tell them as 0.2.1 does."""
    rng = np.random.default_rng(seed)
    vocabulary = frozenset(tts.vocab)
    parts: list[Samples] = []
    heard: list[Sound] = []
    num_samples = 0
    for passage in _passages(tts, text):
        samples, durations = _synthesize(tts, passage, speed, rng)
        num_ids = sum(symbol in vocabulary for symbol in passage.phonemes) + 2
        if not fits(durations, num_ids, len(samples)):
            return None
        heard += sounds(passage, vocabulary, durations, num_samples / RATE)
        parts.append(samples)
        num_samples += len(samples)
    if not parts:
        raise _no_words()
    joined = np.concatenate(parts)
    heard = trim(heard, joined)
    texts, owners = text.split(), {sound.owner for sound in heard}
    silent = [word for n, word in enumerate(texts) if n not in owners and has_sound(word)]
    words = words_of(heard, texts)
    return Spoken(_to_16_bits(joined), RATE, words, phones_of(heard), tuple(silent))


def _passages(tts: Any, text: str) -> list[Passage]:
    """Return the passages of a text. Raises AttemptFailed (user) if it is read at too great length,
    or cannot be read."""
    from hibari.g2p.normalize import normalize

    result: list[Passage] = []
    num_phonemes = 0
    try:
        for passage in passages(tts, normalize, text):
            result.append(passage)
            num_phonemes += len(passage.phonemes)
            if num_phonemes > _MAX_PHONEMES:
                message = "the text to speak has too many numbers to be read aloud"
                raise text_failure("text_too_long", message)
    except _UNREADABLE as error:
        word = next((word for word in text.split() if not _is_readable(tts, word)), "a number")
        message = f"the text to speak has a word that this voice cannot read: {word[:40]!r}"
        raise text_failure("text_not_readable", message) from error
    return result


def _is_readable(tts: Any, word: str) -> bool:
    try:
        tts.g2p(split_words(word))
    except _UNREADABLE:
        return False
    return True


def _synthesize(
    tts: Any, passage: Passage, speed: float, rng: np.random.Generator
) -> tuple[Samples, NDArray[np.int64]]:
    from hibari import dsp

    ids = np.asarray([tts.ids(passage.phonemes)], np.int64)
    feed = {"ids": ids, "speed": np.asarray([speed], np.float32)}
    *spectrum, durations = tts.sess.run(None, feed)
    return dsp.synth(*(part[0] for part in spectrum), rng), durations


def _speak_untimed(tts: Any, text: str, seed: int, speed: float) -> Spoken:
    """Speak by the package's public interface alone."""
    samples = tts(split_words(text), speed, seed)
    if not len(samples):
        raise _no_words()
    return Spoken(_to_16_bits(samples), RATE)


def _to_16_bits(samples: Samples) -> bytes:
    return np.rint(np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()


def _no_words() -> AttemptFailed:
    message = "the text to speak has no word that this voice can read: it reads English"
    return text_failure("text_without_words", message)
