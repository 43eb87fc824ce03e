"""API keys: their secrets, and the stored hashes to compare them with."""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.domain import ids
from service.domain.ids import KeyId

_GENERATED = re.compile(r"rsh_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")
_PREFIX_LENGTH = len("rsh_01234567")


class KeyRole(StrEnum):
    """The role of a key. A viewer may read, in the admin pages what is of all keys, and changes
    nothing; an admin may also create and revoke keys, and act on the jobs of all."""

    USER = "user"
    VIEWER = "viewer"
    ADMIN = "admin"


@dataclass(frozen=True)
class Key:
    """An API key, without its secret."""

    id: KeyId
    name: str
    prefix: str
    secret_hash: bytes
    role: KeyRole
    created_at: datetime
    revoked_at: datetime | None = None

    @property
    def admin(self) -> bool:
        return self.role is KeyRole.ADMIN


def new_secret(random: bytes = b"") -> str:
    """`rsh_<public prefix>_<32 random bytes>`; the prefix finds the row, the hash verifies it. They
    are of `random`, if at all: the same key for the same form."""
    prefix, rest = (random[:4], random[4:36]) if random else map(secrets.token_bytes, (4, 32))
    return f"rsh_{prefix.hex()}_{urlsafe_b64encode(rest).decode().rstrip('=')}"


def new_key(secret: str, *, name: str, now: datetime, role: KeyRole = KeyRole.USER) -> Key:
    return Key(
        id=KeyId(ids.new("key")),
        name=name,
        prefix=prefix_of(secret),
        secret_hash=hash_secret(secret),
        role=role,
        created_at=now,
    )


def prefix_of(secret: str) -> str:
    """Return the prefix to find a key by; one that the operator chose gets one of its hash."""
    if _GENERATED.fullmatch(secret):
        return secret[:_PREFIX_LENGTH]
    return "own_" + hash_secret(secret).hex()[:8]


def hash_secret(secret: str) -> bytes:
    """Hash with SHA-256; a fast hash is enough for a secret that cannot be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def matches(secret: str, secret_hash: bytes) -> bool:
    """Compare `secret` with a hash in constant time."""
    return hmac.compare_digest(hash_secret(secret), secret_hash)
