"""API keys: ensure the first one, create, set budgets, revoke."""

from datetime import datetime

from service.domain.errors import Conflict, NotFound, Unavailable
from service.domain.ids import KeyId
from service.domain.key import Key, KeyRole, matches, new_key, prefix_of
from service.domain.price import Balance, month_of
from service.store import audit, keys
from service.store.audit import AuditEntry
from service.store.transaction import Transaction


def ensure_admin_key(tx: Transaction, secret: str, now: datetime) -> None:
    """Create the admin key with this secret, unless a key has it.

    Raises Unavailable where that is no valid admin key, and there is no other one.
    """
    key = keys.find(tx, prefix_of(secret))
    if key is None or not matches(secret, key.secret_hash):
        keys.insert(tx, new_key(secret, name="first key", now=now, role=KeyRole.ADMIN))
    elif not any(each.admin and each.revoked_at is None for each in keys.every(tx)):
        state = "revoked" if key.revoked_at else f"of the role {key.role}"
        raise Unavailable(
            f"the first API key is {state}, and there is no other admin key; "
            "set RUSHES_BOOTSTRAP_KEY to a new one"
        )


def create(tx: Transaction, key: Key, budget: int | None, actor: KeyId) -> None:
    """Insert a key with its budget in millionths of a dollar; None: no limit."""
    keys.insert(tx, key)
    keys.set_budget(tx, key.id, budget)
    audit.insert(
        tx,
        AuditEntry(key.created_at, actor, "key.create", key.id, detail=f"{key.role}: {key.name}"),
    )


def create_once(tx: Transaction, key: Key, budget: int | None, actor: KeyId) -> None:
    """Create a key, unless there is one with its secret."""
    earlier = keys.find(tx, key.prefix)
    if earlier is None or earlier.secret_hash != key.secret_hash:
        create(tx, key, budget, actor)


def set_monthly_budget(
    tx: Transaction, key_id: KeyId, budget: int | None, now: datetime, actor: KeyId
) -> tuple[Key, Balance]:
    """Set what a key's jobs may cost in a month, in millionths of a dollar; None: no limit.

    Return the key and its balance. Raises NotFound.
    """
    key = _find(tx, key_id)
    if keys.balance(tx, key_id, month_of(now)).budget != budget:
        keys.set_budget(tx, key_id, budget)
        detail = "no limit" if budget is None else f"${budget / 1e6:.2f} a month"
        audit.insert(tx, AuditEntry(now, actor, "key.budget", key_id, detail=detail))
    return key, keys.balance(tx, key_id, month_of(now))


def revoke(tx: Transaction, key_id: KeyId, now: datetime, actor: KeyId) -> Key:
    """Revoke a key; a second time changes nothing.

    Raises NotFound, or Conflict for the last admin key, without which no key could be created.
    """
    other_keys = [key for key in keys.every(tx) if key.id != key_id]
    if not any(key.admin and key.revoked_at is None for key in other_keys):
        raise Conflict(
            "this is the last admin key; create another one first", code="last_admin_key"
        )
    key = _find(tx, key_id)
    if key.revoked_at is not None:
        return key
    audit.insert(tx, AuditEntry(now, actor, "key.revoke", key_id, detail=key.name))
    return keys.revoke(tx, key_id, now=now)


def _find(tx: Transaction, key_id: KeyId) -> Key:
    """Return a key, its row locked until this transaction ends. Raises NotFound."""
    keys.lock(tx, key_id)
    for key in keys.every(tx):
        if key.id == key_id:
            return key
    raise NotFound(f"no key {key_id}")
