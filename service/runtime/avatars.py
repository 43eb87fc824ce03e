"""Create avatars: their photo is checked, stored, and then known by an id; use them in jobs; and
check that their voice can speak a text."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from anyio import to_thread

from service.domain import ids
from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.avatar import AvatarParams, AvatarRequest
from service.domain.errors import (
    Conflict,
    FieldError,
    InputsFull,
    NotFound,
    RequestRefused,
    ServiceError,
    Unavailable,
)
from service.domain.ids import KeyId
from service.domain.job import Idempotency, Job, Submission
from service.domain.key import Key
from service.domain.likeness import (
    AVATAR_PREFIX,
    AvatarId,
    Consent,
    NewAvatar,
    SavedAvatar,
    avatar_folder,
    avatar_id_of,
)
from service.domain.media import Role
from service.domain.models.catalog import PUPPET
from service.domain.request import JobOptions, JobRequest
from service.lifecycle import likenesses
from service.lifecycle.inputs import Input, StoredInput
from service.runtime.runtime import Runtime
from service.store import likenesses as store

log = logging.getLogger(__name__)

T = TypeVar("T")
P = TypeVar("P", bound=JobOptions)
_WORDS = ("text", "audio", "prompt")


@dataclass(frozen=True)
class Created:
    """The avatar; `is_replay` if an earlier request with its Idempotency-Key created it."""

    avatar: SavedAvatar
    is_replay: bool


async def create_avatar(
    runtime: Runtime, key: Key, new: NewAvatar, photo: Input, idempotency: Idempotency | None
) -> Created:
    """Check the photo and keep the avatar, durably.

    Raises RequestRefused naming the field of a photo that cannot speak or an unknown voice,
    Conflict where photos cannot be checked here or the key has too many avatars, InputsFull,
    StorageFull, RateLimited and Unavailable.
    """
    earlier = await runtime.read_durable(
        lambda tx: likenesses.find_earlier(tx, SavedAvatar, key.id, idempotency)
    )
    if earlier is not None:
        return Created(earlier, is_replay=True)
    await check_stored_bytes(runtime, key.id, photo.ref.size_bytes or 0)
    if new.voice is not None:
        await check_voice(runtime, key.id, new.voice)
    path, now = photo.bytes_at, runtime.clock()
    assert isinstance(path, Path), "a photo is sent with its avatar"
    avatar = SavedAvatar(
        id=AvatarId(ids.new(AVATAR_PREFIX)),
        key_id=key.id,
        name=new.name,
        image=photo.ref,
        warnings=await _check_photo(runtime, key.id, path),
        voice=new.voice,
        consent=Consent(text=new.consent, by=new.consent_by or key.name, at=now),
        created_at=now,
    )
    return await _store(runtime, avatar, path, idempotency)


async def use_avatar(runtime: Runtime, key_id: KeyId, params: P) -> tuple[P, dict[Role, Input]]:
    """Return the params with the avatar's voice where they name none, and its photo as an input;
    nothing changes without an avatar. Raises RequestRefused for an unknown one."""
    if not isinstance(params, AvatarParams) or params.avatar is None:
        return params, {}
    name = params.avatar
    try:
        avatar = await find_avatar(runtime, name, key_id)
    except NotFound as error:
        field_error = FieldError("/avatar", error.message, "unknown_avatar")
        raise RequestRefused([field_error]) from None
    ref = avatar.image.model_copy(update={"source": "avatar", "avatar_id": avatar.id})
    if params.voice is None and params.audio is None:
        params = params.model_copy(update={"voice": avatar.voice})
    return params, {"reference_image": Input(ref, StoredInput(avatar.image_key))}


async def find_avatar(runtime: Runtime, name: str, key_id: KeyId | None) -> SavedAvatar:
    """Return an avatar of this key; None: of any key. Raises NotFound, also for what is no id."""
    avatar_id = avatar_id_of(name)
    return await runtime.read(lambda tx: likenesses.find_avatar(tx, avatar_id, key_id))


async def check_avatar_kept(runtime: Runtime, old: Job, request: JobRequest) -> None:
    """Raise Conflict where a retry of `old` would have a deleted avatar do what it did not do."""
    before = old.request
    if not (isinstance(request, AvatarRequest) and isinstance(before, AvatarRequest)):
        return
    photo = request.reference_image
    is_equal = all(getattr(request, name) == getattr(before, name) for name in _WORDS)
    if photo is None or photo.avatar_id is None or is_equal:
        return
    avatar_id = AvatarId(photo.avatar_id)
    if await runtime.read(lambda tx: store.get(tx, SavedAvatar, avatar_id, None)) is None:
        message = f"the avatar {avatar_id} is deleted: the job can be retried unchanged only"
        raise Conflict(f"{message}; or name another avatar or photo", code="avatar_deleted")


async def check_stored_bytes(runtime: Runtime, key_id: KeyId, num_new: int) -> None:
    """Raise InputsFull where so many more bytes of a key would exceed its limit.

    Counts what was accepted: concurrent uploads of one key (at most 16 a process,
    runtime/uploads.py) may exceed the limit once.
    """
    limit = runtime.limits.max_input_bytes_per_key
    num_kept = await runtime.read(lambda tx: likenesses.kept_bytes(tx, key_id))
    if num_kept + num_new > limit:
        raise InputsFull(
            f"{num_kept:,} bytes of your images, videos and avatars are stored, and these have "
            f"{num_new:,}: the limit is {limit:,} (RUSHES_MAX_INPUT_BYTES_PER_KEY); delete final "
            "jobs or avatars, or send https URLs, which are not stored"
        )


async def check_inputs(
    runtime: Runtime, submission: Submission, inputs: Mapping[Role, Input]
) -> None:
    """Check the photo and the recording of an avatar as its worker will, where that needs a GPU or
    something is to be paid. Bytes behind a URL are seen by the worker alone.

    Raises RequestRefused naming the field of what cannot be used, RateLimited and Unavailable.
    """
    request, key_id = submission.request, submission.key_id
    check, card = runtime.input_check, runtime.cards[request.model]
    if not isinstance(request, AvatarRequest) or not (card.gpus or submission.estimated_usd):
        return
    photo = await _file_of(runtime, inputs.get("reference_image"))
    if photo is not None and check.finds_faces:
        look = partial(check.photo, photo, card, request.width, request.height)
        await _check_file(runtime, key_id, look, "/reference_image")
    recording = await _file_of(runtime, inputs.get("audio"))
    if recording is not None:
        await _check_file(runtime, key_id, partial(check.recording, recording), "/audio")


async def _file_of(runtime: Runtime, each: Input | None) -> Path | None:
    """Return the bytes of an input that is still to be checked; a saved avatar's photo was, when it
    was created."""
    if each is None or each.ref.source == "avatar":
        return None
    if isinstance(each.bytes_at, StoredInput):
        return await to_thread.run_sync(runtime.artifacts.path, each.bytes_at.key)
    return each.bytes_at


async def _check_photo(runtime: Runtime, key_id: KeyId, photo: Path) -> tuple[str, ...]:
    check = runtime.input_check
    if not check.finds_faces:
        message = "photos cannot be checked here: the service needs the packages of rushes[avatar]"
        raise Conflict(message, code="no_face_check")
    size = (PUPPET.default_width, PUPPET.default_height)
    return await _check_file(runtime, key_id, partial(check.photo, photo, PUPPET, *size), "/image")


async def _check_file(runtime: Runtime, key_id: KeyId, check: Callable[[], T], pointer: str) -> T:
    async with runtime.throttles.checks.hold(key_id):
        try:
            return await to_thread.run_sync(check)
        except AttemptFailed as failure:
            if failure.kind is FailureKind.USER:
                error = FieldError(pointer, failure.message, failure.code)
                raise RequestRefused([error]) from None
            raise Unavailable(failure.message) from None


async def _store(
    runtime: Runtime, avatar: SavedAvatar, photo: Path, idempotency: Idempotency | None
) -> Created:
    """Store the photo, then the row; what is stored without a row is collected by the retention."""
    artifacts, media_type = runtime.artifacts, avatar.image.media_type or ""
    await to_thread.run_sync(artifacts.put, avatar.image_key, photo, media_type)
    try:
        stored_avatar = await runtime.write(lambda tx: likenesses.add(tx, avatar, idempotency))
    except Unavailable:
        raise  # it may have been kept nevertheless
    except ServiceError:
        await to_thread.run_sync(artifacts.delete, avatar_folder(avatar.id))
        raise
    if stored_avatar.id != avatar.id:
        await to_thread.run_sync(artifacts.delete, avatar_folder(avatar.id))
        return Created(stored_avatar, is_replay=True)
    log.info("avatar created", extra={"avatar": avatar.id, "key": avatar.key_id})
    return Created(stored_avatar, is_replay=False)


_POINTERS = {"voice": "/voice", "speed": "/speed", "text": "/text"}  # by the start of a code


async def check_speech(runtime: Runtime, key_id: KeyId, request: JobRequest) -> float:
    """Return about how many US dollars the speech of a request will cost.

    Raises RequestRefused naming the field that its voice cannot speak by. Where voices cannot be
    searched now, the request passes, and waits for its voice.
    """
    if not isinstance(request, AvatarRequest) or not request.needs_speech:
        return 0.0
    return await _refusing(runtime, partial(_check, runtime, key_id, request)) or 0.0


async def check_voice(runtime: Runtime, key_id: KeyId, voice_id: str) -> None:
    """Raise RequestRefused for a voice that this key cannot use."""
    await _refusing(runtime, partial(runtime.voices.find, voice_id, key_id))


async def _refusing(runtime: Runtime, check: Callable[[], T]) -> T | None:
    """Run a check in a thread, and name the field that it refuses; None where it cannot be done
    now."""
    try:
        return await to_thread.run_sync(check, limiter=runtime.voice_threads)
    except AttemptFailed as failure:
        if failure.kind is not FailureKind.USER:
            log.warning(
                "voice cannot be checked", extra={"code": failure.code, "kind": failure.kind}
            )
            return None
        pointer = _POINTERS[failure.code.partition("_")[0]]
        raise RequestRefused([FieldError(pointer, failure.message, failure.code)]) from None


def _check(runtime: Runtime, key_id: KeyId, request: AvatarRequest) -> float:
    voice, text = runtime.voices.find(request.voice, key_id), request.text or ""
    voice.check(text, request.speed)
    return voice.expected_usd(text)
