"""Who may come in, and for how much: the first key, a key's budget, the end of a key."""

from datetime import datetime

from service.domain.errors import Conflict, NotFound
from service.domain.ids import KeyId
from service.domain.key import Key, matches, new_key, prefix_of
from service.domain.price import Balance
from service.store import keys
from service.store.transaction import Transaction


def create_key(tx: Transaction, secret: str, now: datetime) -> Key:
    """The admin key with this secret, made if there is none yet."""
    known = keys.find(tx, prefix_of(secret))
    if known is not None and matches(secret, known.secret_hash):
        return known
    key = new_key(secret, name="first key", admin=True, now=now)
    keys.insert(tx, key)
    return key


def allow(tx: Transaction, key_id: KeyId, budget: int | None, month: int) -> tuple[Key, Balance]:
    """Set what a key's jobs may cost in a month, in millionths of a dollar; None: no bound.

    The key, and how it stands now. Raises NotFound.
    """
    if not keys.set_budget(tx, key_id, budget):
        raise NotFound(f"no key {key_id}")
    (key,) = (key for key in keys.every(tx) if key.id == key_id)
    return key, keys.balance(tx, key_id, month)


def revoke(tx: Transaction, key_id: KeyId, now: datetime) -> Key:
    """End a key; a second time changes nothing.

    Raises NotFound, or Conflict for the last admin key: nobody could make another after it.
    """
    others = [key for key in keys.every(tx) if key.id != key_id]
    if not any(key.admin and key.revoked_at is None for key in others):
        raise Conflict("this is the last admin key; make another one first", code="last_admin_key")
    revoked = keys.revoke(tx, key_id, now=now)
    if revoked is None:
        raise NotFound(f"no key {key_id}")
    return revoked
