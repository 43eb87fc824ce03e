"""Keep avatars until their key deletes them."""

from service.domain.attempt import ArtifactStore
from service.domain.errors import Conflict, NotFound
from service.domain.ids import KeyId
from service.domain.job import Idempotency
from service.domain.likeness import AvatarId, SavedAvatar, avatar_folder
from service.store import avatars, jobs, keys
from service.store.audit import Deletion
from service.store.database import Database
from service.store.transaction import Transaction

MAX_PER_KEY = 1_000


def add(tx: Transaction, avatar: SavedAvatar, idempotency: Idempotency | None) -> SavedAvatar:
    """Insert an avatar, or return the one that its Idempotency-Key created meanwhile.

    Raises Conflict over the limit, and as `find_earlier`.
    """
    keys.lock(tx, avatar.key_id)  # so that two at once do not exceed the limit
    earlier = find_earlier(tx, avatar.key_id, idempotency)
    if earlier is not None:
        return earlier
    if avatars.count(tx, avatar.key_id) >= MAX_PER_KEY:
        message = f"a key may have {MAX_PER_KEY:,} avatars; delete one first"
        raise Conflict(message, code="too_many_avatars")
    avatars.insert(tx, avatar, idempotency)
    return avatar


def find_earlier(
    tx: Transaction, key_id: KeyId, idempotency: Idempotency | None
) -> SavedAvatar | None:
    """Return the avatar that this Idempotency-Key created. Raises RequestRefused if it came with
    another request."""
    if idempotency is None:
        return None
    record = avatars.find_request(tx, key_id, idempotency.name)
    if record is None:
        return None
    avatar, fingerprint = record
    idempotency.check(fingerprint)
    return avatar


def find(tx: Transaction, avatar_id: AvatarId, key_id: KeyId | None) -> SavedAvatar:
    """Return an avatar. Raises NotFound if it does not exist or is not this key's; None: any."""
    avatar = avatars.get(tx, avatar_id, key_id)
    if avatar is None:
        raise NotFound(f"no avatar {avatar_id}")
    return avatar


def kept_bytes(tx: Transaction, key_id: KeyId) -> int:
    """Sum the bytes that are stored for a key: inputs of its jobs, and its avatars."""
    return jobs.input_bytes(tx, key_id) + avatars.size_bytes(tx, key_id)


def remove(
    db: Database,
    artifacts: ArtifactStore,
    avatar_id: AvatarId,
    key_id: KeyId | None,
    deletion: Deletion | None = None,
) -> SavedAvatar:
    """Delete an avatar: its bytes first, as in lifecycle/jobs.py. An admin's `deletion` is
    recorded. Raises NotFound."""
    avatar = db.read(lambda tx: find(tx, avatar_id, key_id))
    artifacts.delete(avatar_folder(avatar.id))

    def delete(tx: Transaction) -> None:
        avatars.delete(tx, avatar.id)
        if deletion is not None:
            deletion.record(tx, "avatar.delete", avatar.id, avatar.name)

    db.write(delete).result()
    return avatar
