"""Speech: when each word and each sound is heard, about how long a text takes, and its cost."""

import re
import unicodedata
from dataclasses import dataclass

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

MAX_CHARACTERS = 5000  # of a text that a voice speaks: about six minutes
# What the ids of voices begin with that a provider speaks, not this machine.
OF_PROVIDERS = ("elevenlabs-", "voi_")
# Of what `speaking_seconds` returns: voices and languages differ.
SHORTEST, LONGEST = 0.65, 1.6

_LETTERS_PER_SECOND = 16
_DIGIT, _HAN, _KANA = 7, 4, 2  # in letters
_SENTENCE_END = re.compile(r"[.!?…](?!\S)|[。！？]")  # noqa: RUF001 - those of other scripts
_PAUSE_SECONDS, _EDGE_SECONDS = 0.35, 0.3  # after a sentence, and at both ends together


@dataclass(frozen=True)
class Word:
    """A word as written, with its punctuation; times are seconds from the start of the sound."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Phone:
    """A speech sound: one symbol of the alphabet in workers/puppet/articulation.py, "" for silence.

    Times are seconds from the start of the sound.
    """

    start: float
    end: float
    name: str
    is_stressed: bool = False


def speaking_seconds(text: str) -> float:
    """Estimate how long a voice takes to speak a text at a usual pace."""
    num_pauses = len(_SENTENCE_END.findall(text))
    letters = letters_of(text)
    return letters / _LETTERS_PER_SECOND + num_pauses * _PAUSE_SECONDS + _EDGE_SECONDS


def letters_of(text: str) -> int:
    """Return how many letters of the Latin script take as long to speak as `text`."""
    return sum(map(_letters, text))


def _letters(character: str) -> int:
    if character.isdigit():
        return _DIGIT
    if unicodedata.category(character)[0] == "M":
        return 0
    if unicodedata.east_asian_width(character) in "WF":
        return _HAN if unicodedata.name(character, "").startswith("CJK") else _KANA
    return 1


class SpeechUsage(BaseModel):
    """The use of a provider for the speech of one job. `characters` are those that it counted."""

    model_config = ConfigDict(frozen=True)

    provider: str
    characters: int = Field(ge=0)
    usd: float = Field(ge=0)

    def plus(self, earlier: "SpeechUsage") -> "SpeechUsage":
        """Add what earlier tries of the same text took."""
        return SpeechUsage(
            provider=self.provider,
            characters=self.characters + earlier.characters,
            usd=self.usd + earlier.usd,
        )


class SpeechQuota(BaseModel):
    """The characters that an account with a provider has `used` of its `limit`."""

    model_config = ConfigDict(frozen=True)

    used: int
    limit: int
    resets_at: AwareDatetime | None = None


class JobSpeech(SpeechUsage):
    """The speech of a job as its row keeps it: `quota` is that of the account afterwards, which is
    the operator's and no customer's to see; None where the provider did not tell it."""

    quota: SpeechQuota | None = None
