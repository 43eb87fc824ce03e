"""API keys: create the first one, set budgets, revoke."""

from datetime import datetime

from service.domain.errors import Conflict, NotFound
from service.domain.ids import KeyId
from service.domain.key import Key, KeyRole, matches, new_key, prefix_of
from service.domain.price import Balance
from service.store import keys
from service.store.transaction import Transaction


def create_key(tx: Transaction, secret: str, now: datetime) -> Key:
    """Return the admin key with this secret, creating it if there is none yet."""
    existing_key = keys.find(tx, prefix_of(secret))
    if existing_key is not None and matches(secret, existing_key.secret_hash):
        return existing_key
    key = new_key(secret, name="first key", now=now, role=KeyRole.ADMIN)
    keys.insert(tx, key)
    return key


def set_monthly_budget(
    tx: Transaction, key_id: KeyId, budget: int | None, month: int
) -> tuple[Key, Balance]:
    """Set what a key's jobs may cost in a month, in millionths of a dollar; None: no limit.

    Return the key and its balance. Raises NotFound.
    """
    if not keys.set_budget(tx, key_id, budget):
        raise NotFound(f"no key {key_id}")
    (key,) = (key for key in keys.every(tx) if key.id == key_id)
    return key, keys.balance(tx, key_id, month)


def revoke(tx: Transaction, key_id: KeyId, now: datetime) -> Key:
    """Revoke a key; a second time changes nothing.

    Raises NotFound, or Conflict for the last admin key, without which no key could be created.
    """
    other_keys = [key for key in keys.every(tx) if key.id != key_id]
    if not any(key.admin and key.revoked_at is None for key in other_keys):
        raise Conflict(
            "this is the last admin key; create another one first", code="last_admin_key"
        )
    revoked_key = keys.revoke(tx, key_id, now=now)
    if revoked_key is None:
        raise NotFound(f"no key {key_id}")
    return revoked_key
