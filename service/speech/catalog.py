"""The voices of this installation."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from service.domain.attempt import AttemptFailed
from service.speech.base import ProviderBusy, Voice, VoiceInfo, text_failure, unknown_voice
from service.speech.elevenlabs import PREFIX as ELEVENLABS_PREFIX
from service.speech.elevenlabs import ElevenLabs
from service.speech.elevenlabs_api import Account
from service.speech.espeak import espeak_program, espeak_voices
from service.speech.offline import OfflineVoices

_ACCOUNT_SECONDS, _FAILED_SECONDS = 60.0, 10.0  # until the account's list is asked for again
_LIST_TIME = timedelta(seconds=5)  # for the account's list, which somebody waits for


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


class Catalog:
    """Lists voices and finds them by id. Thread-safe.

    The voices of hibari come first, then those of espeak-ng, then those of ElevenLabs. Those of
    this machine are looked for until once without a failure.
    """

    def __init__(
        self, offline: OfflineVoices, espeak: Path | None = None, account: Account | None = None
    ) -> None:
        """`account` is None without ElevenLabs, `espeak` is None without that program."""
        self._offline = offline
        self._espeak = espeak
        self.elevenlabs = None if account is None else ElevenLabs(account)
        self._lister = (
            None if account is None else ElevenLabs(replace(account, max_time=_LIST_TIME))
        )
        self._machine_lock, self._account_lock = threading.Lock(), threading.Lock()
        self._machine: _Search | None = None
        self._account = _Search(failures=[_UNLISTED])
        self._account_until = 0.0

    def listing(self) -> Listing:
        """List all voices; those of ElevenLabs as they were within the last minute, or before it
        where they cannot be listed now."""
        searches = [self._search_machine(), self._search_account()]
        return Listing(
            tuple(voice.info for search in searches for voice in search.voices),
            tuple(failure.message for search in searches for failure in search.failures),
        )

    def listed(self, voice_id: str) -> VoiceInfo | None:
        """Return a voice of the list; None if it has no such voice. A provider is asked for its own
        ids alone.

        Raises AttemptFailed where the list that would have it cannot be had now.
        """
        is_of_account = voice_id.startswith(ELEVENLABS_PREFIX)
        search = self._search_account() if is_of_account else self._search_machine()
        for voice in search.voices:
            if voice.info.id == voice_id:
                return voice.info
        if search.failures:
            raise search.failures[0].with_traceback(None)  # it is raised again
        return None

    def find(self, voice_id: str | None) -> Voice:
        """Return the voice with this id, without a request: ElevenLabs refuses an unknown one when
        it speaks. None: the first voice of this machine.

        Raises AttemptFailed: user with the nearest id of this machine, and machine where it cannot
        be searched.
        """
        if voice_id is not None and voice_id.startswith(ELEVENLABS_PREFIX):
            return self._find_of_account(voice_id)
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

    def _find_of_account(self, voice_id: str) -> Voice:
        if self.elevenlabs is not None:
            return self.elevenlabs.voice(voice_id.removeprefix(ELEVENLABS_PREFIX))
        message = "this installation has no API key of ElevenLabs (ELEVENLABS_API_KEY)"
        raise text_failure("voice_unknown", f"there is no voice {voice_id[:100]!r}: {message}")

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

    def _search_account(self) -> _Search:
        """Return the account's voices; every page of a list would ask for them again.

        One thread at a time asks, and none waits for it: a provider that hangs keeps no other
        request waiting. Voices that were listed before stay where it fails.
        """
        if self._lister is None:
            return _Search()
        if self._account_lock.acquire(blocking=False):
            try:
                if time.monotonic() >= self._account_until:
                    search = _Search()
                    search.add(self._lister.voices)
                    if search.failures:
                        search.voices = self._account.voices
                    self._account = search
                    seconds = _FAILED_SECONDS if search.failures else _ACCOUNT_SECONDS
                    self._account_until = time.monotonic() + seconds
            finally:
                self._account_lock.release()
        return self._account


_UNLISTED = ProviderBusy("voice_timeout", "ElevenLabs is listing its voices: try again", 1.0)


def machine_catalog(environment: Mapping[str, str], account: Account | None = None) -> Catalog:
    """Return the voices of this machine and of `account`. `environment` is that of processes that
    speak."""
    return Catalog(OfflineVoices(environment), espeak_program(), account)
