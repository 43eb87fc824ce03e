"""Let a key in that was not made by another key: the first one."""

from datetime import datetime

from service.domain.key import Key, new_key, opens, prefix_of
from service.store import keys
from service.store.engine import Transaction


def admit(tx: Transaction, secret: str, now: datetime) -> Key:
    """The admin key with this secret, made if there is none yet."""
    known = keys.find(tx, prefix_of(secret))
    if known is not None and opens(secret, known.secret_hash):
        return known
    key = new_key(secret, name="first key", admin=True, now=now)
    keys.insert(tx, key)
    return key
