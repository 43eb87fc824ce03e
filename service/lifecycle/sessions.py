"""Sessions of the admin pages: begin with a key, end with it, or after twelve hours."""

import secrets
from datetime import datetime, timedelta

from service.domain.errors import Forbidden
from service.domain.ids import KeyId
from service.domain.key import Key, KeyRole, hash_secret
from service.store import audit, sessions
from service.store.audit import AuditEntry
from service.store.transaction import Transaction

LIFETIME = timedelta(hours=12)


def begin(tx: Transaction, key: Key, now: datetime) -> str:
    """Begin a session and return its token. Raises Forbidden for a key without such a role."""
    if key.role is KeyRole.USER:
        raise Forbidden("these pages need the key of an admin or a viewer")
    token = secrets.token_urlsafe(32)
    sessions.delete_expired(tx, now)
    sessions.insert(tx, hash_secret(token), key.id, now=now, expires_at=now + LIFETIME)
    return token


def find_key(tx: Transaction, token: str, now: datetime) -> Key | None:
    """Return the key whose session this is; None once the session or its key has ended."""
    return sessions.find_key(tx, hash_secret(token), now)


def end(tx: Transaction, token: str) -> None:
    sessions.delete(tx, hash_secret(token))


def end_all(tx: Transaction, key_id: KeyId, now: datetime) -> None:
    """End all sessions of a key."""
    number = sessions.delete_of_key(tx, key_id)
    audit.insert(tx, AuditEntry(now, key_id, "key.logout", key_id, number))
