"""Likenesses that a key keeps until it deletes them, avatars and cloned voices; and the voices that
it may use: those of the service, and its own clones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from service.domain import ids
from service.domain.attempt import ArtifactStore, AttemptFailed
from service.domain.errors import Conflict, FieldError, NotFound, RequestRefused
from service.domain.ids import KeyId
from service.domain.job import Idempotency
from service.domain.likeness import (
    VOICE_PREFIX,
    AvatarId,
    ClonedVoice,
    SavedAvatar,
    avatar_folder,
)
from service.speech.base import (
    Clone,
    Cloner,
    InformedVoice,
    Spoken,
    UploadedRecording,
    Voice,
    VoiceInfo,
    text_failure,
)
from service.speech.catalog import Catalog, clone_info
from service.store import jobs, keys, likenesses
from service.store.audit import Actor
from service.store.database import Database
from service.store.likenesses import Likeness
from service.store.transaction import Transaction

MAX_AVATARS, MAX_VOICES = 1_000, 100  # of a key


def add(tx: Transaction, likeness: Likeness, idempotency: Idempotency | None) -> Likeness:
    """Insert an avatar or a clone, or return the one that its Idempotency-Key created meanwhile.

    Raises as `check_limit` and `find_earlier`.
    """
    keys.lock(tx, likeness.key_id)  # so that two at once do not exceed the limit
    kind = type(likeness)
    earlier = find_earlier(tx, kind, likeness.key_id, idempotency)
    if earlier is not None:
        return earlier
    check_limit(tx, kind, likeness.key_id)
    likenesses.insert(tx, likeness, idempotency)
    return likeness


def check_limit(tx: Transaction, kind: type[Likeness], key_id: KeyId) -> None:
    """Raise Conflict where a key has as many avatars, or clones, as it may have."""
    count = likenesses.count(tx, kind, key_id)
    if kind is SavedAvatar and count >= MAX_AVATARS:
        message = f"a key may have {MAX_AVATARS:,} avatars; delete one first"
        raise Conflict(message, code="too_many_avatars")
    if kind is ClonedVoice and count >= MAX_VOICES:
        message = f"a key may have {MAX_VOICES} voices; delete one first"
        raise Conflict(message, code="too_many_voices")


def find_earlier(
    tx: Transaction, kind: type[Likeness], key_id: KeyId, idempotency: Idempotency | None
) -> Likeness | None:
    """Return what this Idempotency-Key created. Raises RequestRefused if it came with another
    request."""
    if idempotency is None:
        return None
    record = likenesses.find_request(tx, kind, key_id, idempotency.name)
    if record is None:
        return None
    likeness, fingerprint = record
    idempotency.check(fingerprint)
    return likeness


def find_avatar(tx: Transaction, avatar_id: AvatarId, key_id: KeyId | None) -> SavedAvatar:
    """Return an avatar. Raises NotFound if it does not exist or is not this key's; None: any."""
    avatar = likenesses.get(tx, SavedAvatar, avatar_id, key_id)
    if avatar is None:
        raise NotFound(f"no avatar {avatar_id}")
    return avatar


def kept_bytes(tx: Transaction, key_id: KeyId) -> int:
    """Sum the bytes that are stored for a key: inputs of its jobs, and its avatars."""
    return jobs.input_bytes(tx, key_id) + likenesses.photo_bytes(tx, key_id)


def remove_avatar(
    db: Database,
    artifacts: ArtifactStore,
    avatar_id: AvatarId,
    key_id: KeyId | None,
    actor: Actor | None = None,
) -> SavedAvatar:
    """Delete an avatar: its bytes first, as in lifecycle/jobs.py. That of an admin is
    recorded. Raises NotFound."""
    avatar = db.read(lambda tx: find_avatar(tx, avatar_id, key_id))
    artifacts.delete(avatar_folder(avatar.id))

    def delete(tx: Transaction) -> None:
        likenesses.delete(tx, avatar)
        if actor is not None:
            actor.record(tx, "avatar.delete", avatar.id, avatar.name)

    db.write(delete).result()
    return avatar


@dataclass(frozen=True)
class Entry:
    """A voice in a list; `clone` is set for a clone of the key itself."""

    info: VoiceInfo
    clone: ClonedVoice | None = None


@dataclass(frozen=True)
class Voices:
    """Finds, lists, clones and deletes voices for keys. Thread-safe.

    A clone is its key's alone: others cannot use it by the provider's id either. Clones of the
    account that were not made here are listed for admin keys.
    """

    db: Database
    catalog: Catalog

    def find(self, voice_id: str | None, key_id: KeyId) -> Voice:
        """Return a voice that a key may use; None: the first of the service. Where the provider
        cannot list its voices, one that speaks when it can again.

        Raises AttemptFailed: user for an unknown one, else as Catalog.find.
        """
        if voice_id is None:
            return self.catalog.find(None)
        if ids.is_id(VOICE_PREFIX, voice_id):
            clone = self.db.read(lambda tx: likenesses.get(tx, ClonedVoice, voice_id, key_id))
            if clone is None:
                raise text_failure("voice_unknown", f"there is no voice {voice_id!r} of yours")
            return self.catalog.find(clone_info(clone.provider_id).id)
        voice = self.catalog.find(voice_id)
        return self._of_account(voice, key_id) if voice.info.own_id else voice

    def _of_account(self, voice: Voice, key_id: KeyId) -> Voice:
        voice_id, provider_id = voice.info.id, voice.info.own_id
        owner, is_admin = self.db.read(
            lambda tx: (likenesses.voice_owner(tx, provider_id), keys.is_admin(tx, key_id))
        )
        unknown = text_failure("voice_unknown", f"there is no voice {voice_id[:100]!r}")
        if owner not in (None, key_id):
            raise unknown
        if owner is None and not is_admin:
            try:
                info = self.catalog.listed(voice_id)
            except AttemptFailed as failure:
                return _Withheld(voice, failure)
            if info is None or info.is_clone:
                raise unknown
        return voice

    def listing(self, key_id: KeyId | None, *, is_admin: bool) -> tuple[list[Entry], Sequence[str]]:
        """List the clones of a key, or of all keys, newest first, then the voices of the service;
        and why others cannot be listed now."""
        clones, all_clones = self.db.read(
            lambda tx: (likenesses.page(tx, ClonedVoice, key_id), likenesses.provider_ids(tx))
        )
        listing = self.catalog.listing()
        others = [
            Entry(info)
            for info in listing.voices
            if info.own_id not in all_clones and (is_admin or not info.is_clone)
        ]
        return [*map(entry_of, clones), *others], listing.problems

    def owner(self, voice_id: str) -> KeyId | None:
        """Return the key whose clone a voice is; None for one of the service. Raises NotFound."""
        return self._clone(voice_id, None).key_id if ids.is_id(VOICE_PREFIX, voice_id) else None

    def get(self, voice_id: str, key_id: KeyId, *, is_admin: bool) -> Entry:
        """Return one voice of a key's listing; for an admin also a clone of any key. Raises
        NotFound, and AttemptFailed where the list that would have it cannot be had now."""
        if ids.is_id(VOICE_PREFIX, voice_id):
            return entry_of(self._clone(voice_id, None if is_admin else key_id))
        info = self.catalog.listed(voice_id)
        if info is not None and (is_admin or not info.is_clone):
            own_id = info.own_id
            if not self.db.read(lambda tx: likenesses.voice_owner(tx, own_id)):
                return Entry(info)
        raise NotFound(f"no voice {voice_id[:100]}")

    def clone(
        self, name: str, recordings: Sequence[UploadedRecording], language: str, *, clean: bool
    ) -> Clone:
        """Have a voice cloned. Raises Conflict without an account, and AttemptFailed."""
        return self._cloner().clone(name, recordings, language=language, remove_noise=clean)

    def discard(self, clone: Clone) -> None:
        """Delete a clone at the provider that was not kept. Raises AttemptFailed."""
        self._cloner().delete(clone.info.own_id)

    def remove(
        self,
        artifacts: ArtifactStore,
        voice_id: str,
        key_id: KeyId,
        actor: Actor | None = None,
    ) -> ClonedVoice:
        """Delete a clone of a key: at the provider, its sample, then its row. An `actor`
        may delete a clone of any key, which is recorded.

        Raises NotFound, Conflict for a voice of the service, and AttemptFailed, after which it can
        be tried again.
        """
        if not ids.is_id(VOICE_PREFIX, voice_id):
            self.get(voice_id, key_id, is_admin=actor is not None)
            message = f"{voice_id[:100]} is a voice of the service: only clones can be deleted"
            raise Conflict(message, code="not_your_voice")
        clone = self._clone(voice_id, key_id if actor is None else None)
        self._cloner().delete(clone.provider_id)
        artifacts.delete(sample_folder(clone.id))

        def delete(tx: Transaction) -> None:
            likenesses.delete(tx, clone)
            if actor is not None:
                actor.record(tx, "voice.delete", clone.id, clone.name)

        self.db.write(delete).result()
        return clone

    def _clone(self, voice_id: str, key_id: KeyId | None) -> ClonedVoice:
        clone = self.db.read(lambda tx: likenesses.get(tx, ClonedVoice, voice_id, key_id))
        if clone is None:
            raise NotFound(f"no voice {voice_id}")
        return clone

    def _cloner(self) -> Cloner:
        if self.catalog.cloner is None:
            message = "voices are cloned by ElevenLabs: the service has no ELEVENLABS_API_KEY"
            raise Conflict(message, code="no_voice_provider")
        return self.catalog.cloner


class _Withheld(InformedVoice):
    """A voice of the account of which nobody knows now whether it is one for all keys."""

    def __init__(self, voice: Voice, failure: AttemptFailed) -> None:
        super().__init__(voice.info)
        self._voice, self._failure = voice, failure

    def expected_usd(self, text: str) -> float:
        return self._voice.expected_usd(text)

    def check(self, text: str, speed: float) -> None:
        self._voice.check(text, speed)

    def speak(
        self, text: str, *, seed: int, speed: float, is_wanted: Callable[[], bool] | None = None
    ) -> Spoken:
        raise self._failure


def entry_of(clone: ClonedVoice) -> Entry:
    """Return a clone as a list shows it to its key."""
    info, name, language = clone_info(clone.provider_id), clone.name, clone.language
    return Entry(replace(info, id=clone.id, name=name, language=language, is_clone=True), clone)


def entries_after(entries: list[Entry], voice_id: str) -> list[Entry]:
    """Return what follows a voice in a list, also a clone that was deleted since. Raises
    RequestRefused for what is no voice's id."""
    names = [entry.info.id for entry in entries]
    if voice_id in names:
        return entries[names.index(voice_id) + 1 :]
    if not ids.is_id(VOICE_PREFIX, voice_id):
        detail = f"{voice_id[:64]!r} is the id of no voice"
        raise RequestRefused([FieldError("?after", detail, "invalid_id")])
    return [entry for entry in entries if entry.clone is None or entry.info.id < voice_id]


def sample_folder(voice_id: str) -> str:
    """Return the prefix of what is stored of a voice, by its id in a list."""
    return f"voices/{voice_id}"
