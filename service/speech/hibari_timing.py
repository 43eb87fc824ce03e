"""Times of hibari's phonemes, from an output that its graph has and does not return."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.speech import Phone, Word
from service.speech.base import has_sound
from service.speech.hibari_script import PAUSES, PRIMARY_STRESS, STRESS_MARKS, Passage, is_sound
from service.speech.phones import VOWELS, split_phone

Samples: TypeAlias = NDArray[np.float32]  # mono, -1 to 1, RATE a second
RATE = 24_000
DURATIONS = "/Cast_32_output_0"  # of hibari-tts 0.2.1: int64, one per id, in units of _UNIT
UNIT_SAMPLES = 600  # a unit of the durations is 25 ms
# The sounds come earlier than the durations say. Measured over 40 sentences: the energy of the
# speech band fits the sonority of the phonemes best at this lag (r 0.61, against 0.16 without).
LEAD_SECONDS = 0.055
_HOP = RATE // 100
_SILENCE_DB = 36.0  # below the 95th percentile of the levels
_PAUSE_SECONDS = 0.05  # a sound before a longer gap is followed by a pause
_MAX_SOUND_SECONDS = 0.2  # a longer sound may hold a pause
_RELEASE_SECONDS = 0.01


@dataclass(frozen=True)
class Sound:
    """A phoneme that is heard, and the written word that it belongs to. Times are in seconds."""

    symbol: str
    start: float
    end: float
    is_stressed: bool
    owner: int


def with_extra_output(model: bytes, tensor: str) -> bytes:
    """Return an ONNX model that returns `tensor` as well, after its other outputs.

    A protobuf message that occurs twice is merged by the parser, so a second ModelProto with the
    output alone is appended. Nothing is parsed: the runtime refuses a model without the tensor.
    """
    value_info = _field(1, tensor.encode())  # ValueInfoProto.name
    return model + _field(7, _field(12, value_info))  # ModelProto.graph, GraphProto.output


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])


def fits(durations: NDArray[np.int64], num_ids: int, num_samples: int) -> bool:
    """Tell whether a tensor can be the durations of the ids: another release may reuse the name."""
    return (
        np.issubdtype(durations.dtype, np.integer)
        and durations.shape == (num_ids,)
        and bool((durations >= 0).all())
        and int(durations.sum()) * UNIT_SAMPLES == num_samples
    )


def sounds(
    passage: Passage, vocabulary: frozenset[str], durations: NDArray[np.int64], begin: float
) -> Iterator[Sound]:
    """Yield the sounds of a passage that begins at `begin`, in seconds.

    `durations` has a pad at each end. The time of a stress mark belongs to the sound after it, the
    time of a length mark to the sound before it.
    """
    units = np.concatenate([[0], np.cumsum(durations)]) * (UNIT_SAMPLES / RATE)
    edges = (begin + np.maximum(0.0, units - LEAD_SECONDS)).tolist()
    pairs = zip(passage.phonemes, passage.owners, strict=True)
    symbols = [(symbol, owner) for symbol, owner in pairs if symbol in vocabulary]
    start, is_stressed = None, False
    sound = None
    for index, (symbol, owner) in enumerate(symbols, start=1):
        begins, ends = edges[index], edges[index + 1]
        if symbol in STRESS_MARKS:
            start = begins if start is None else start
            is_stressed = symbol == PRIMARY_STRESS
        elif is_sound(symbol):
            if sound is not None:
                yield sound
            begins = begins if start is None else start
            sound, start = Sound(symbol, begins, ends, is_stressed, owner), None
            is_stressed = is_stressed and not _is_vowel(symbol)
        elif symbol in PAUSES:
            start = None
        elif sound is not None:
            sound = replace(sound, end=ends)
    if sound is not None:
        yield sound


def _is_vowel(symbol: str) -> bool:
    phones = split_phone(symbol, 0.0, 1.0, False)
    return bool(phones) and phones[-1].name in VOWELS


def trim(sounds: Sequence[Sound], samples: Samples) -> list[Sound]:
    """End the sounds before pauses where the speech gets silent: the model leaves up to 250 ms of
    silence in the last one."""
    num_hops = len(samples) // _HOP
    frames = samples[: num_hops * _HOP].reshape(num_hops, _HOP)
    levels = 10 * np.log10((frames**2).mean(axis=1) + 1e-10)
    is_loud = levels > np.percentile(levels, 95) - _SILENCE_DB if num_hops else levels > 0
    result = []
    for index, sound in enumerate(sounds):
        is_last = index + 1 == len(sounds)
        gap = np.inf if is_last else sounds[index + 1].start - sound.end
        if gap > _PAUSE_SECONDS or sound.end - sound.start > _MAX_SOUND_SECONDS:
            first = int(sound.start * 100)
            loud = np.flatnonzero(is_loud[first : int(sound.end * 100) + 1])
            if len(loud):
                quiet = (first + int(loud[-1]) + 1) / 100 + _RELEASE_SECONDS
                sound = replace(sound, end=max(sound.start, min(sound.end, quiet)))
        result.append(replace(sound, end=min(sound.end, len(samples) / RATE)))
    return result


def phones_of(sounds: Sequence[Sound]) -> tuple[Phone, ...]:
    """Split the sounds into phones."""
    return tuple(
        phone
        for sound in sounds
        for phone in split_phone(sound.symbol, sound.start, sound.end, sound.is_stressed)
    )


def words_of(sounds: Sequence[Sound], texts: Sequence[str]) -> tuple[Word, ...]:
    """Return the words `texts` with the times of the sounds that they own.

    A text without a letter, such as a dash, is joined to the word before it, or after it if it is
    the first; a word that is not heard is left out.
    """
    times: dict[int, tuple[float, float]] = {}
    for sound in sounds:
        start, _ = times.get(sound.owner, (sound.start, sound.end))
        times[sound.owner] = start, sound.end
    words: list[Word] = []
    silent: list[str] = []
    for index, text in enumerate(texts):
        if index in times:
            words.append(Word(" ".join([*silent, text]), *times[index]))
            silent = []
        elif has_sound(text):
            continue
        elif words:
            words[-1] = replace(words[-1], text=f"{words[-1].text} {text}")
        else:
            silent.append(text)
    return tuple(words)
