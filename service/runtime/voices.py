"""Clone voices, and keep a sample of each voice that is listened to."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from service.domain import ids
from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.errors import FieldError, NotFound, RequestRefused, ServiceError, Unavailable
from service.domain.job import Idempotency
from service.domain.key import Key
from service.domain.likeness import VOICE_PREFIX, ClonedVoice, Consent, NewVoice, VoiceId
from service.domain.media import Role
from service.domain.price import microusd, month_of
from service.domain.speech import SpeechUsage
from service.lifecycle import likenesses
from service.lifecycle.inputs import Input
from service.lifecycle.likenesses import Entry
from service.runtime.runtime import Runtime
from service.speech.base import Clone, ProviderBusy, UploadedRecording, Voice, paid_usage
from service.speech.recording import write_wav
from service.store import keys

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_SECONDS = 30  # where the provider says nothing
_SEED = 1
_SAMPLE_TEXT = "Hello! This is how I sound when I tell you something new."
_SAMPLE_TEXTS = {
    "de": "Hallo! So klinge ich, wenn ich dir etwas Neues erzähle.",
    "es": "¡Hola! Así sueno cuando te cuento algo nuevo.",
    "fr": "Bonjour ! Voilà ma voix quand je vous raconte quelque chose.",
    "it": "Ciao! Ecco come suono quando ti racconto qualcosa di nuovo.",
    "nl": "Hallo! Zo klink ik als ik je iets nieuws vertel.",
    "pt": "Olá! É assim que eu soo quando conto algo novo.",
}


async def create_voice(
    runtime: Runtime,
    key: Key,
    new: NewVoice,
    files: dict[Role, Input],
    idempotency: Idempotency | None,
) -> tuple[ClonedVoice, bool]:
    """Have a voice cloned and keep it, durably; True: an earlier request with this Idempotency-Key
    did.

    Raises RequestRefused for what the provider refuses, Conflict without an account or over the
    limit, RateLimited, and Unavailable.
    """
    earlier = await runtime.read_durable(
        lambda tx: likenesses.find_earlier(tx, ClonedVoice, key.id, idempotency)
    )
    if earlier is not None:
        return earlier, True
    await runtime.read(lambda tx: likenesses.check_limit(tx, ClonedVoice, key.id))
    recordings = [_recording(each) for each in files.values()]
    clone = partial(runtime.voices.clone, new.name, recordings, new.language or "")
    async with runtime.throttles.voices.hold(key.id):
        result = await by_provider(
            runtime, partial(clone, clean=bool(new.remove_noise)), "/samples"
        )
    now = runtime.clock()
    voice = ClonedVoice(
        id=VoiceId(ids.new(VOICE_PREFIX)),
        key_id=key.id,
        name=new.name,
        language=new.language or "",
        provider_id=result.info.own_id,
        needs_verification=result.requires_verification,
        consent=Consent(text=new.consent, by=new.consent_by or key.name, at=now),
        created_at=now,
    )
    return await _keep(runtime, voice, result, idempotency)


async def sample_of(runtime: Runtime, key: Key, voice_id: str) -> Path:
    """Return a WAV of a voice, spoken at the first time, which the key pays for.

    Raises NotFound, BudgetExceeded, RequestRefused for a voice that the provider refuses,
    RateLimited and Unavailable.
    """
    entry = await get_voice(runtime, key, voice_id)
    user = key.id if entry.clone is None else entry.clone.key_id
    find = partial(runtime.voices.find, voice_id, user)
    voice = await by_provider(runtime, find, "/voice_id")
    file_key = f"{likenesses.sample_folder(entry.info.id)}/sample.wav"
    path = await to_thread.run_sync(runtime.artifacts.path, file_key)
    if path is None:
        text = _SAMPLE_TEXTS.get(entry.info.language[:2].lower(), _SAMPLE_TEXT)
        lock = runtime.sample_locks.setdefault(entry.info.id, asyncio.Lock())
        async with runtime.throttles.voices.hold(key.id), lock:
            path = await to_thread.run_sync(runtime.artifacts.path, file_key)
            if path is not None:  # made while this request waited
                return path
            await _check_budget(runtime, key, voice.expected_usd(text))
            make = partial(_make_sample, runtime, key, voice, text, file_key)
            path = await by_provider(runtime, make, "/voice_id")
            await to_thread.run_sync(_check_kept, runtime, entry.info.id)
    return path


async def list_voices(runtime: Runtime, key: Key) -> tuple[list[Entry], Sequence[str]]:
    """List the voices of a key; see Voices.listing. Raises RateLimited."""
    listing = partial(runtime.voices.listing, key.id, is_admin=key.admin)
    async with runtime.throttles.lists.hold(key.id):
        return await to_thread.run_sync(listing, limiter=runtime.voice_threads)


async def get_voice(runtime: Runtime, key: Key, voice_id: str) -> Entry:
    """Return one voice that a key may see. Raises NotFound, RateLimited, and Unavailable where that
    list cannot be had now."""
    get = partial(runtime.voices.get, voice_id, key.id, is_admin=key.admin)
    async with runtime.throttles.lists.hold(key.id):
        return await by_provider(runtime, get, "/voice_id", runtime.voice_threads)


async def by_provider(
    runtime: Runtime, work: Callable[[], T], pointer: str, threads: CapacityLimiter | None = None
) -> T:
    """Run work that asks a provider in a thread, and raise the error of the service for a failure:
    what the provider refuses is an error of the field `pointer`."""
    try:
        return await to_thread.run_sync(work, limiter=threads or runtime.provider_threads)
    except AttemptFailed as failure:
        if failure.kind is FailureKind.USER:
            raise RequestRefused([FieldError(pointer, failure.message, failure.code)]) from None
        hint = failure.retry_after if isinstance(failure, ProviderBusy) else None
        raise Unavailable(
            failure.message,
            code="voice_provider_failed",
            retry_after_seconds=math.ceil(hint or _RETRY_SECONDS),
        ) from None


def _recording(upload: Input) -> UploadedRecording:
    assert isinstance(upload.bytes_at, Path), "a recording is sent with its voice"
    return UploadedRecording(upload.bytes_at, upload.ref.media_type or "application/octet-stream")


async def _keep(
    runtime: Runtime, voice: ClonedVoice, clone: Clone, idempotency: Idempotency | None
) -> tuple[ClonedVoice, bool]:
    """Insert the row; a clone without one is deleted at the provider."""
    try:
        row = await runtime.write(lambda tx: likenesses.add(tx, voice, idempotency))
    except Unavailable:
        # It may have been kept nevertheless. If not, the account has a voice that nobody can use.
        log.error(
            "clone may be left at the provider",
            extra={"voice": voice.id, "provider": voice.provider_id},
        )
        raise
    except ServiceError:
        await by_provider(runtime, partial(runtime.voices.discard, clone), "")
        raise
    if row.id != voice.id:
        await by_provider(runtime, partial(runtime.voices.discard, clone), "")
        return row, True
    log.info("voice cloned", extra={"voice": voice.id, "key": voice.key_id})
    return row, False


async def _check_budget(runtime: Runtime, key: Key, usd: float) -> None:
    balance = await runtime.read(lambda tx: keys.balance(tx, key.id, month_of(runtime.clock())))
    if not balance.allows(microusd(usd)):
        raise balance.exceeded(usd)


def _make_sample(runtime: Runtime, key: Key, voice: Voice, text: str, file_key: str) -> Path:
    """Speak and store a sample. Raises AttemptFailed."""
    try:
        speech = voice.speak(text, seed=_SEED, speed=1.0)
    except AttemptFailed as failure:
        usage = paid_usage(failure)
        if usage is not None:
            _pay(runtime, key, usage)
        raise
    usage = SpeechUsage(
        provider=voice.info.provider, characters=speech.characters, usd=speech.cost_usd
    )
    _pay(runtime, key, usage)
    runtime.uploads.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=runtime.uploads.folder) as folder:
        file = Path(folder, "sample.wav")
        write_wav(speech, file)
        runtime.artifacts.put(file_key, file, "audio/wav")
    path = runtime.artifacts.path(file_key)
    assert path is not None, "stored just now"
    return path


def _check_kept(runtime: Runtime, voice_id: str) -> None:
    """Delete the sample of a clone that was deleted while it was made, and raise NotFound."""
    try:
        runtime.voices.owner(voice_id)
    except NotFound:
        runtime.artifacts.delete(likenesses.sample_folder(voice_id))
        raise


def _pay(runtime: Runtime, key: Key, usage: SpeechUsage) -> None:
    now = runtime.clock()
    runtime.db.write(lambda tx: keys.pay_for_speech(tx, key.id, usage, now)).result()
