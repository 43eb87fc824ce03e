"""The interface of a voice, and the failures that voices share."""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Literal, Protocol

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.speech import MAX_CHARACTERS, Phone, SpeechQuota, SpeechUsage, Word

Provider = Literal["hibari", "espeak", "elevenlabs"]

_STOPS = frozenset(".,;:!?…")  # marks that make a pause


@dataclass(frozen=True)
class Spoken:
    """A text as a voice spoke it: little-endian samples of 16 bits, mono, `rate` of them a second.

    `words` are timed where the voice tells it, else empty. `phones` are None where it does not;
    lips are then read from the sound. `unspoken` are the words of the text that the voice does not
    read, as they are written. A provider counts the text as `characters`, and charges `cost_usd`
    for them.
    """

    samples: bytes
    rate: int
    words: tuple[Word, ...] = ()
    phones: tuple[Phone, ...] | None = None
    unspoken: tuple[str, ...] = ()
    characters: int = 0
    cost_usd: float = 0.0

    @property
    def seconds(self) -> float:
        return len(self.samples) / 2 / self.rate


@dataclass(frozen=True)
class VoiceInfo:
    """The description of a voice in a list. `language` is a BCP 47 tag, "" for any language."""

    id: str
    name: str
    language: str
    provider: Provider
    gender: str = ""  # as the provider says it
    min_speed: float = 0.5  # of the voice's usual pace
    max_speed: float = 2.0
    has_words: bool = False  # whether it times the words
    latin_only: bool = False  # whether it reads no word of another script
    is_clone: bool = False
    own_id: str = ""  # by which its provider knows it; "" for a voice of this machine


class Voice(Protocol):
    """A voice that speaks a text. Thread-safe."""

    @property
    def info(self) -> VoiceInfo: ...

    def expected_usd(self, text: str) -> float:
        """Return what a text will cost, as far as that is known before."""
        ...

    def check(self, text: str, speed: float) -> None:
        """Check at no cost that it can speak this text at this speed. Raises AttemptFailed (user)
        with a code that begins with text_ or speed_."""
        ...

    def speak(
        self, text: str, *, seed: int, speed: float, is_wanted: Callable[[], bool] | None = None
    ) -> Spoken:
        """Speak `text` at `speed` times the usual pace. One seed gives one sound, where the
        voice can promise that. Where `is_wanted` turns false, a program that is at it is killed.

        Raises AttemptFailed: user for a text or a speed that the voice cannot speak, transient
        for a provider that may recover, machine for a program that does not run, else internal;
        UnusableSpeech where it was paid for all the same.
        """
        ...

    def quota(self) -> SpeechQuota | None:
        """Ask how much of its account's quota is used, within seconds. None where there is no
        account, or where the provider does not tell."""
        ...


class InformedVoice:
    """A voice with this description, which costs nothing."""

    def __init__(self, info: VoiceInfo) -> None:
        self.info = info

    def expected_usd(self, text: str) -> float:
        return 0.0

    def check(self, text: str, speed: float) -> None:
        check_text(text)
        if self.info.latin_only and not has_sound(latin_text(text)[0]):
            message = f"the text to speak has no word that the voice {self.info.id} can read"
            raise text_failure("text_without_words", f"{message}: it reads {self.info.language}")
        check_speed(speed, self.info.min_speed, self.info.max_speed)

    def quota(self) -> SpeechQuota | None:
        return None


@dataclass(frozen=True)
class UploadedRecording:
    """A recording of the voice to clone: a file, and its type, such as `audio/mpeg`."""

    file: Path
    media_type: str


@dataclass(frozen=True)
class Clone:
    """A new voice. One that `requires_verification` speaks after its owner confirmed it there."""

    info: VoiceInfo
    requires_verification: bool


class VoiceProvider(Protocol):
    """An account with a provider of voices, whose ids begin with `prefix`. Thread-safe."""

    name: str
    prefix: str

    def is_own_id(self, text: str) -> bool:
        """Tell whether a text looks like an id as the provider itself writes it."""
        ...

    def voice(self, own_id: str) -> Voice:
        """Return a voice by the provider's own id, without a request: an unknown one fails when it
        speaks. Raises AttemptFailed (user) for a text that is no id."""
        ...

    def voices(self) -> Sequence[Voice]:
        """Return the voices of the account, within seconds. Raises AttemptFailed."""
        ...


class Cloner(Protocol):
    """An account with a provider that clones voices. Thread-safe."""

    def clone(
        self,
        name: str,
        recordings: Sequence[UploadedRecording],
        *,
        language: str = "",
        remove_noise: bool = False,
    ) -> Clone:
        """Make a voice of recordings of a person who agreed to it. Raises AttemptFailed."""
        ...

    def delete(self, own_id: str) -> None:
        """Delete a voice of the account; one that does not exist counts as deleted. Raises
        AttemptFailed."""
        ...


class ProviderBusy(AttemptFailed):
    """Raised when a provider of voices may recover. `retry_after` is its hint in seconds; `usage`
    is what it charged for all the same."""

    def __init__(
        self,
        code: str,
        message: str,
        retry_after: float | None = None,
        usage: SpeechUsage | None = None,
    ) -> None:
        super().__init__(FailureKind.TRANSIENT, code, message, of_model=False)
        self.retry_after = retry_after
        self.usage = usage


class UnusableSpeech(AttemptFailed):
    """Raised when a provider's speech cannot be used, though it charges for it: `usage`."""

    def __init__(
        self,
        code: str,
        message: str,
        usage: SpeechUsage,
        kind: FailureKind = FailureKind.INTERNAL,
    ) -> None:
        super().__init__(kind, code, message, of_model=False)
        self.usage = usage


def paid_usage(failure: AttemptFailed) -> SpeechUsage | None:
    """Return what a provider charged for speech that failed, if it did."""
    return failure.usage if isinstance(failure, ProviderBusy | UnusableSpeech) else None


def text_failure(code: str, message: str) -> AttemptFailed:
    """Build the failure of a request that no retry can help."""
    return AttemptFailed(FailureKind.USER, code, message, of_model=False)


def provider_failure(code: str, message: str) -> AttemptFailed:
    """Build the failure of an account or an answer, which the operator must look at."""
    return AttemptFailed(FailureKind.INTERNAL, code, message, of_model=False)


def unknown_voice(voice_id: str, ids: Iterable[str]) -> AttemptFailed:
    """Build the failure for an id that is not among `ids`; it names the nearest of them."""
    name = voice_id[:100]
    folds = {valid.casefold(): valid for valid in ids}
    longer = [fold for fold in folds if fold.startswith(name.casefold())]
    near = longer or get_close_matches(name.casefold(), folds, n=1, cutoff=0.0)
    advice = f"the nearest is {folds[near[0]]!r}" if near else "this installation has no voice"
    return text_failure("voice_unknown", f"there is no voice {name!r}: {advice}")


def check_text(text: str) -> None:
    """Check that `text` has a letter or a digit, and at most MAX_CHARACTERS.

    Raises AttemptFailed (user) with code text_empty, text_without_words or text_too_long.
    """
    if not text.strip():
        raise text_failure("text_empty", "the text to speak is empty")
    if len(text) > MAX_CHARACTERS:
        message = f"the text to speak has {len(text)} characters; at most {MAX_CHARACTERS} are"
        raise text_failure("text_too_long", f"{message} possible")
    if not has_sound(text):
        raise text_failure("text_without_words", "the text to speak has no letter and no digit")


def check_speed(speed: float, min_speed: float, max_speed: float) -> None:
    """Check that the voice can speak this fast. Raises AttemptFailed (user), speed_out_of_range."""
    if not (math.isfinite(speed) and min_speed <= speed <= max_speed):
        message = f"this voice speaks at a speed of {min_speed:g} to {max_speed:g}, not {speed:g}"
        raise text_failure("speed_out_of_range", message)


def has_sound(text: str) -> bool:
    """Tell whether a text has a letter or a digit of any script."""
    return re.search(r"[^\W_]", text) is not None


def latin_text(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a text without the words and parts of words of other scripts, and these.

    A lone Greek letter stays, as in a formula. A mark after a word that is left out follows the
    word before it.
    """
    result: list[str] = []
    foreign: list[str] = []
    for space, word in re.findall(r"(\s*)(\S+)", text):
        parts = list(_parts_by_script(word))
        foreign += [part for is_latin, part in parts if not is_latin]
        rest = "".join(part for is_latin, part in parts if is_latin)
        if rest == word or has_sound(rest):
            result.append(space + rest)
        elif result and result[-1][-1:] not in _STOPS:
            result.append("".join(mark for mark in rest if mark in _STOPS))
    return "".join(result), tuple(foreign)


def _parts_by_script(word: str) -> Iterator[tuple[bool, str]]:
    """Split a word into parts that are of the Latin script, or of none, and parts of others."""
    flags, is_latin = [], True
    for letter in word:
        if letter.isalpha() and unicodedata.category(letter) != "Lm":
            is_latin = _plain_name(letter).startswith("LATIN")
        elif unicodedata.category(letter) not in ("Lm", "Mn", "Mc", "Me", "Cf"):
            is_latin = True  # the excluded ones belong to the letter before
        flags.append(is_latin)
    for is_latin, group in groupby(zip(flags, word, strict=True), key=lambda pair: pair[0]):
        part = "".join(letter for _, letter in group)
        is_symbol = len(part) == 1 and _plain_name(part).startswith("GREEK")
        yield is_latin or is_symbol, part


def _plain_name(letter: str) -> str:
    return unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "")
