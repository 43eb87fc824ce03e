"""The voices of this installation."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.domain.attempt import AttemptFailed
from service.speech.base import Voice, VoiceInfo, text_failure, unknown_voice
from service.speech.elevenlabs import PREFIX as ELEVENLABS_PREFIX
from service.speech.elevenlabs import ElevenLabs
from service.speech.elevenlabs_api import Account
from service.speech.espeak import espeak_program, espeak_voices
from service.speech.hibari import installed_voices


@dataclass(frozen=True)
class Listing:
    """The voices that can be found now, and why others cannot: a sentence for each provider."""

    voices: tuple[VoiceInfo, ...]
    problems: tuple[str, ...] = ()


class Catalog:
    """Lists voices and finds them by id. Thread-safe; voices of this machine are looked for once.

    The voices of hibari come first, then those of espeak-ng, then those of ElevenLabs.
    """

    def __init__(self, account: Account | None = None, espeak: Path | None = None) -> None:
        """`account` is None without ElevenLabs, `espeak` is None without that program."""
        self._espeak = espeak
        self._elevenlabs = None if account is None else ElevenLabs(account)
        self._lock = threading.Lock()
        self._local: dict[str, Voice] | None = None
        self._problems: list[str] = []

    def listing(self) -> Listing:
        """List all voices; those of ElevenLabs take a request."""
        voices: list[Voice] = [*self._machine_voices().values()]
        problems = [*self._problems]
        if self._elevenlabs is not None:
            voices += _attempt(self._elevenlabs.voices, problems)
        return Listing(tuple(voice.info for voice in voices), tuple(problems))

    def find(self, voice_id: str | None) -> Voice:
        """Return the voice with this id, without a request: ElevenLabs refuses an unknown one when
        it speaks. None: the first voice of this machine.

        Raises AttemptFailed (user) with the nearest id of this machine.
        """
        local = self._machine_voices()
        if voice_id is None:
            if not local:
                raise text_failure("voice_unknown", "no voice is installed here: name one")
            return next(iter(local.values()))
        if voice_id in local:
            return local[voice_id]
        if voice_id.startswith(ELEVENLABS_PREFIX):
            if self._elevenlabs is not None:
                return self._elevenlabs.voice(voice_id.removeprefix(ELEVENLABS_PREFIX))
            message = "this installation has no API key of ElevenLabs"
            raise text_failure("voice_unknown", f"there is no voice {voice_id[:100]!r}: {message}")
        raise unknown_voice(voice_id, local)

    def _machine_voices(self) -> dict[str, Voice]:
        with self._lock:
            if self._local is None:
                voices: list[Voice] = [*installed_voices()]
                if self._espeak is not None:
                    program = self._espeak
                    voices += _attempt(lambda: espeak_voices(program), self._problems)
                self._local = {voice.id: voice for voice in voices}
            return self._local


def machine_catalog(account: Account | None = None) -> Catalog:
    """Return the voices of this machine and of `account`."""
    return Catalog(account, espeak_program())


def _attempt(search: Callable[[], Sequence[Voice]], problems: list[str]) -> Sequence[Voice]:
    """Return the voices that `search` finds; if it fails, none and one more of `problems`."""
    try:
        return search()
    except AttemptFailed as failure:
        problems.append(failure.message)
        return []
