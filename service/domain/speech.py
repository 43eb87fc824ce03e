"""Speech as it was spoken: when each word and each sound is heard."""

from dataclasses import dataclass

MAX_CHARACTERS = 5000  # of a text that a voice speaks: about six minutes


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
