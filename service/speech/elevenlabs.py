"""Voices of ElevenLabs: speech with the times of its words, the list of voices, cloning."""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

from pydantic import BaseModel, Field

from service.domain.attempt import AttemptFailed
from service.domain.speech import SpeechQuota, SpeechUsage, Word
from service.speech.base import (
    Clone,
    InformedVoice,
    ProviderBusy,
    Spoken,
    UnusableSpeech,
    UploadedRecording,
    VoiceInfo,
    text_failure,
)
from service.speech.elevenlabs_api import NAME, Account, Api, WrongResponse, parse, wrong_response

PREFIX = "elevenlabs-"
_RATE = 24_000  # samples a second; higher ones need a dearer plan
_VOICE_ID = re.compile(r"[A-Za-z0-9]{8,64}")
_MIN_SPEED, _MAX_SPEED = 0.7, 1.2
_SEEDS = 1 << 32
_PAGE_SIZE, _MAX_PAGES = 100, 10
_LIST_TIME = _QUOTA_TIME = timedelta(seconds=5)  # somebody waits for them
# Credits that a request took, by newer and older names.
_COST_HEADERS = ("character-cost", "x-character-count")


class _Alignment(BaseModel):
    """When each character of the text is heard, in seconds."""

    characters: list[str]
    starts: list[float] = Field(alias="character_start_times_seconds")
    ends: list[float] = Field(alias="character_end_times_seconds")


class _Speech(BaseModel):
    audio_base64: str
    alignment: _Alignment | None = None


class _Language(BaseModel):
    language: str = ""


class _VoiceItem(BaseModel):
    voice_id: str
    name: str = ""
    category: str | None = None
    labels: dict[str, str | None] | None = None
    verified_languages: list[_Language] | None = None


class _VoicePage(BaseModel):
    voices: list[_VoiceItem]
    has_more: bool = False
    next_page_token: str | None = None


class _Subscription(BaseModel):
    character_count: int
    character_limit: int
    next_character_count_reset_unix: int | None = None


class _CloneAnswer(BaseModel):
    voice_id: str
    requires_verification: bool = False


class ElevenLabsVoice(InformedVoice):
    """A voice of an account. A seed gives nearly the same sound again; the provider promises no
    more."""

    def __init__(self, api: Api, info: VoiceInfo) -> None:
        super().__init__(info)
        self._api = api

    def expected_usd(self, text: str) -> float:
        return len(text) * self._api.account.usd_per_character

    def speak(
        self, text: str, *, seed: int, speed: float, is_wanted: Callable[[], bool] | None = None
    ) -> Spoken:
        """Speak a text; see Voice and Api.call for the failures. A response of no use is asked for
        once more, and no more often: each is charged for."""
        self.check(text, speed)
        try:
            return self._speak(text, seed, speed)
        except WrongResponse:
            cost_usd = self.expected_usd(text)
        usage = SpeechUsage(provider=self.info.provider, characters=len(text), usd=cost_usd)
        try:
            spoken = self._speak(text, seed, speed)
        except WrongResponse as failure:
            raise UnusableSpeech(failure.code, failure.message, usage.plus(usage)) from None
        except ProviderBusy as busy:
            raise ProviderBusy(busy.code, busy.message, busy.retry_after, usage) from None
        except AttemptFailed as failure:
            raise UnusableSpeech(failure.code, failure.message, usage, failure.kind) from None
        characters = spoken.characters + len(text)
        return replace(spoken, characters=characters, cost_usd=spoken.cost_usd + cost_usd)

    def quota(self) -> SpeechQuota | None:
        """Ask for the quota of the account; a key without the right to read it gets None."""
        api = Api(replace(self._api.account, max_time=_QUOTA_TIME))
        try:
            plan: _Subscription = parse(api.call("GET", "/v1/user/subscription"), _Subscription)
        except AttemptFailed:
            return None
        reset = plan.next_character_count_reset_unix
        return SpeechQuota(
            used=plan.character_count,
            limit=plan.character_limit,
            resets_at=None if reset is None else datetime.fromtimestamp(reset, UTC),
        )

    def _speak(self, text: str, seed: int, speed: float) -> Spoken:
        account = self._api.account
        response = self._api.call(
            "POST",
            f"/v1/text-to-speech/{self.info.own_id}/with-timestamps",
            params={"output_format": f"pcm_{_RATE}"},
            json={
                "text": text,
                "model_id": account.model_id,
                "seed": seed % _SEEDS,
                "voice_settings": {"speed": speed},
            },
        )
        speech: _Speech = parse(response, _Speech)
        sound = Spoken(_decode(speech.audio_base64), _RATE)
        words = _words(speech.alignment, sound.seconds) if speech.alignment else ()
        costs = (_credits(response.headers.get(name, "")) for name in _COST_HEADERS)
        characters = next((cost for cost in costs if cost is not None), len(text))
        cost_usd = characters * account.usd_per_character
        return replace(sound, words=words, characters=characters, cost_usd=cost_usd)


class ElevenLabs:
    """The voices of an account: a VoiceProvider and a Cloner. Thread-safe."""

    name, prefix = NAME, PREFIX

    def __init__(self, account: Account) -> None:
        self._api = Api(account)

    def is_own_id(self, text: str) -> bool:
        return re.fullmatch(r"[A-Za-z0-9]{20}", text) is not None

    def voice(self, own_id: str) -> ElevenLabsVoice:
        """Return a voice; see VoiceProvider."""
        if not _VOICE_ID.fullmatch(own_id):
            message = f"{own_id[:100]!r} is no id of a voice of ElevenLabs"
            raise text_failure("voice_unknown", message)
        return ElevenLabsVoice(self._api, info_of(own_id))

    def voices(self) -> list[ElevenLabsVoice]:
        """Return the voices of the account, at most 1000. Raises AttemptFailed; see Api.call."""
        lister = Api(replace(self._api.account, max_time=_LIST_TIME))
        voices: list[ElevenLabsVoice] = []
        token: str | None = None
        for _ in range(_MAX_PAGES):
            params: dict[str, str | int] = {"page_size": _PAGE_SIZE}
            if token:
                params["next_page_token"] = token
            page: _VoicePage = parse(lister.call("GET", "/v2/voices", params=params), _VoicePage)
            items = [item for item in page.voices if _VOICE_ID.fullmatch(item.voice_id)]
            voices += [ElevenLabsVoice(self._api, _item_info(item)) for item in items]
            token = page.next_page_token
            if not (page.has_more and token):
                break
        return voices

    def clone(
        self,
        name: str,
        recordings: Sequence[UploadedRecording],
        *,
        language: str = "",
        remove_noise: bool = False,
    ) -> Clone:
        """Make a voice; see Cloner, and Api.call for the failures."""
        form = {"name": name, "remove_background_noise": str(remove_noise).lower()}
        if language:
            form["labels"] = json.dumps({"language": language})
        with ExitStack() as stack:
            files = [
                (
                    "files",
                    (
                        _name(number, recording),
                        stack.enter_context(recording.file.open("rb")),
                        recording.media_type,
                    ),
                )
                for number, recording in enumerate(recordings, start=1)
            ]
            response = self._api.call("POST", "/v1/voices/add", data=form, files=files)
        answer: _CloneAnswer = parse(response, _CloneAnswer)
        if not _VOICE_ID.fullmatch(answer.voice_id):
            raise wrong_response("the new voice has no valid id")
        info = replace(info_of(answer.voice_id), name=name, language=language, is_clone=True)
        return Clone(info, answer.requires_verification)

    def delete(self, own_id: str) -> None:
        """Delete a voice; see Cloner, and Api.call for the failures."""
        try:
            self._api.call("DELETE", f"/v1/voices/{own_id}")
        except AttemptFailed as failure:
            if failure.code != "voice_unknown":
                raise


def info_of(own_id: str) -> VoiceInfo:
    """Describe a voice of which the account tells nothing but its id."""
    return VoiceInfo(
        id=f"{PREFIX}{own_id}",
        own_id=own_id,
        name=own_id,
        language="",
        provider="elevenlabs",
        min_speed=_MIN_SPEED,
        max_speed=_MAX_SPEED,
        has_words=True,
    )


def _item_info(item: _VoiceItem) -> VoiceInfo:
    labels = item.labels or {}
    others = [verified.language for verified in item.verified_languages or []]
    return replace(
        info_of(item.voice_id),
        name=item.name or item.voice_id,
        language=labels.get("language") or next(iter(others), ""),
        gender=labels.get("gender") or "",
        is_clone=item.category in ("cloned", "professional"),
    )


_EXTENSIONS = {"audio/mpeg": "mp3", "audio/mp4": "m4a"}


def _name(number: int, recording: UploadedRecording) -> str:
    subtype = recording.media_type.partition("/")[2].removeprefix("x-")
    return f"sample-{number}.{_EXTENSIONS.get(recording.media_type, subtype)}"


def _decode(text: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise wrong_response("its audio cannot be decoded") from None
    samples = content[: len(content) // 2 * 2]
    if not samples:
        raise wrong_response("it has no audio")
    return samples


def _words(alignment: _Alignment, seconds: float) -> tuple[Word, ...]:
    """Return the words of an alignment, in order and inside the sound; none of one that does not
    hold together."""
    letters, starts, ends = alignment.characters, alignment.starts, alignment.ends
    if not len(letters) == len(starts) == len(ends) or not all(map(math.isfinite, starts + ends)):
        return ()
    words: list[Word] = []
    position = 0.0
    for is_space, group in groupby(range(len(letters)), key=lambda n: letters[n].isspace()):
        if is_space:
            continue
        numbers = list(group)
        start = min(max(position, starts[numbers[0]]), seconds)
        position = min(max(start, ends[numbers[-1]]), seconds)
        words.append(Word("".join(letters[n] for n in numbers), start, position))
    return tuple(words)


def _credits(value: str) -> int | None:
    return int(value) if re.fullmatch(r"\d{1,9}", value) else None
