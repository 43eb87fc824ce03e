"""The voices of this installation."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.domain.attempt import AttemptFailed
from service.speech import elevenlabs
from service.speech.base import (
    Cloner,
    ProviderBusy,
    Voice,
    VoiceInfo,
    VoiceProvider,
    text_failure,
    unknown_voice,
)
from service.speech.elevenlabs_api import Account
from service.speech.espeak import espeak_program, espeak_voices
from service.speech.offline import OfflineVoices

_ACCOUNT_SECONDS, _FAILED_SECONDS = 60.0, 10.0  # until the account's list is asked for again
# The prefixes of the providers' ids, and what a service without an account lacks.
_KEYS = {elevenlabs.PREFIX: "API key of ElevenLabs (ELEVENLABS_API_KEY)"}


@dataclass(frozen=True)
class Listing:
    """The voices that can be found now, and why others cannot: a sentence for each provider."""

    voices: tuple[VoiceInfo, ...]
    problems: tuple[str, ...] = ()


@dataclass
class _Search:
    """The voices that were found, and the failures of providers."""

    voices: list[Voice] = field(default_factory=list)
    failures: list[AttemptFailed] = field(default_factory=list)

    def add(self, search: Callable[[], Sequence[Voice]]) -> None:
        try:
            self.voices += search()
        except AttemptFailed as failure:
            self.failures.append(failure)


class _Account:
    """The voices of a provider's account; every page of a list would ask for them again."""

    def __init__(self, provider: VoiceProvider) -> None:
        self.provider = provider
        self._lock = threading.Lock()
        message = f"{provider.name} is listing its voices: try again"
        self._search = _Search(failures=[ProviderBusy("voice_timeout", message, 1.0)])
        self._until = 0.0

    def search(self) -> _Search:
        """Return the voices as they were within the last minute.

        One thread at a time asks, and none waits for it: a provider that hangs keeps no other
        request waiting. Voices that were listed before stay where it fails.
        """
        if self._lock.acquire(blocking=False):
            try:
                if time.monotonic() >= self._until:
                    search = _Search()
                    search.add(self.provider.voices)
                    if search.failures:
                        search.voices = self._search.voices
                    self._search = search
                    seconds = _FAILED_SECONDS if search.failures else _ACCOUNT_SECONDS
                    self._until = time.monotonic() + seconds
            finally:
                self._lock.release()
        return self._search


class Catalog:
    """Lists voices and finds them by id. Thread-safe.

    The voices of hibari come first, then those of espeak-ng, then those of the accounts. Those of
    this machine are looked for until once without a failure.
    """

    def __init__(
        self,
        offline: OfflineVoices,
        espeak: Path | None = None,
        providers: Sequence[VoiceProvider] = (),
        cloner: Cloner | None = None,
    ) -> None:
        """`espeak` is None without that program, and `cloner` where no voice can be cloned."""
        self._offline = offline
        self._espeak = espeak
        self.cloner = cloner
        self._accounts = [_Account(provider) for provider in providers]
        self._machine_lock = threading.Lock()
        self._machine: _Search | None = None

    def listing(self) -> Listing:
        """List all voices; those of an account as they were within the last minute, or before it
        where they cannot be listed now."""
        searches = [self._search_machine(), *(account.search() for account in self._accounts)]
        return Listing(
            tuple(voice.info for search in searches for voice in search.voices),
            tuple(failure.message for search in searches for failure in search.failures),
        )

    def listed(self, voice_id: str) -> VoiceInfo | None:
        """Return a voice of the list; None if it has no such voice. A provider is asked for its own
        ids alone.

        Raises AttemptFailed where the list that would have it cannot be had now.
        """
        account = self._account_of(voice_id)
        search = self._search_machine() if account is None else account.search()
        for voice in search.voices:
            if voice.info.id == voice_id:
                return voice.info
        if search.failures:
            raise search.failures[0].with_traceback(None)  # it is raised again
        return None

    def find(self, voice_id: str | None) -> Voice:
        """Return the voice with this id, without a request: a provider refuses an unknown one when
        it speaks. None: the first voice of this machine.

        Raises AttemptFailed: user with the nearest id of this machine, and machine where it cannot
        be searched.
        """
        account = self._account_of(voice_id or "")
        if voice_id is not None and account is not None:
            return account.provider.voice(voice_id.removeprefix(account.provider.prefix))
        reason = self._why_unknown(voice_id or "")
        if reason is not None:
            raise text_failure("voice_unknown", f"there is no voice {voice_id!r:.100}: {reason}")
        machine = self._search_machine()
        voices = {voice.info.id: voice for voice in machine.voices}
        if voice_id in voices:
            return voices[voice_id]
        if voice_id is None and voices:
            return next(iter(voices.values()))
        if machine.failures:
            raise machine.failures[0]
        if voice_id is None:
            raise text_failure("voice_unknown", "no voice is installed here: name one")
        raise unknown_voice(voice_id, voices)

    def _account_of(self, voice_id: str) -> _Account | None:
        """Return the account whose provider speaks a voice; None: this machine, or nobody, does."""
        return next(
            (each for each in self._accounts if voice_id.startswith(each.provider.prefix)), None
        )

    def _why_unknown(self, voice_id: str) -> str | None:
        """Return why an id that looks like an account's is of no voice; None for any other."""
        for prefix, key in _KEYS.items():
            if voice_id.startswith(prefix):
                return f"this installation has no {key}"
        for provider in (account.provider for account in self._accounts):
            if provider.is_own_id(voice_id):
                return f"one of {provider.name} is written {provider.prefix + voice_id!r}"
        return None

    def _search_machine(self) -> _Search:
        with self._machine_lock:
            if self._machine is not None:
                return self._machine
            search = _Search()
            search.add(self._offline.voices)
            if self._espeak is not None:
                program = self._espeak
                search.add(lambda: espeak_voices(program))
            if not search.failures:
                self._machine = search
            return search


def machine_catalog(environment: Mapping[str, str], account: Account | None = None) -> Catalog:
    """Return the voices of this machine and of `account`. `environment` is that of processes that
    speak."""
    provider = None if account is None else elevenlabs.ElevenLabs(account)
    providers = [] if provider is None else [provider]
    return Catalog(OfflineVoices(environment), espeak_program(), providers, provider)


def clone_info(own_id: str) -> VoiceInfo:
    """Describe a clone by its provider's own id, also without an account."""
    return elevenlabs.info_of(own_id)
