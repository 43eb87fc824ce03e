"""The interface of a voice, and the failures that voices share."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, Protocol

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.speech import MAX_CHARACTERS, Phone, SpeechQuota, SpeechUsage, Word

Provider = Literal["hibari", "espeak", "elevenlabs"]


@dataclass(frozen=True)
class Spoken:
    """A text as a voice spoke it: little-endian samples of 16 bits, mono, `rate` of them a second.

    `words` are timed where the voice tells it, else empty. `phones` are None where it does not;
    lips are then read from the sound. A provider counts the text as `characters`, and charges
    `cost_usd` for them.
    """

    samples: bytes
    rate: int
    words: tuple[Word, ...] = ()
    phones: tuple[Phone, ...] | None = None
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
    is_clone: bool = False


class Voice(Protocol):
    """A voice that speaks a text. Thread-safe."""

    @property
    def info(self) -> VoiceInfo: ...

    def expected_usd(self, text: str) -> float:
        """Return what a text will cost, as far as that is known before."""
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

    def quota(self) -> SpeechQuota | None:
        return None


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
