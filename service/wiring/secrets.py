"""Secrets: from the settings, or generated once and stored in the data directory."""

import os
import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

from service.domain.errors import Unavailable
from service.domain.key import new_secret
from service.lifecycle import api_keys
from service.settings import KEY_FILE, MIN_SECRET, Settings
from service.store import keys
from service.store.database import Database


def link_secret(settings: Settings) -> bytes:
    """Return the secret that signs URLs: from the settings, or generated once."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    return load_or_create_secret(
        settings.data_dir / "link-secret", secrets.token_urlsafe(32)
    ).encode()


def load_or_create_secret(path: Path, new: str) -> str:
    """Return the secret in `path`; if there is none, store `new` there, readable by its owner.

    The file is created atomically, with its content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-") as scratch:
            scratch.write(new)
            scratch.flush()
            os.fsync(scratch.fileno())
            with suppress(FileExistsError):  # another process was faster: its secret is used
                os.link(scratch.name, path)
    secret = path.read_text().strip()
    if len(secret) < MIN_SECRET:
        raise Unavailable(f"{path} has no valid secret; delete it to generate a new one")
    return secret


def ensure_admin_key(settings: Settings, db: Database, now: datetime) -> None:
    """Ensure that an admin key exists: RUSHES_BOOTSTRAP_KEY, or else a generated one."""
    if settings.bootstrap_key is not None:
        secret = settings.bootstrap_key.get_secret_value()
    elif any(key.admin and key.revoked_at is None for key in db.read(keys.every)):
        return
    else:
        secret = load_or_create_secret(settings.data_dir / KEY_FILE, new_secret())
    db.write(lambda tx: api_keys.ensure_admin_key(tx, secret, now)).result()


def worker_token(settings: Settings) -> str:
    """Return the secret of the workers: of the settings, or one for this process only."""
    token = settings.worker_token
    return token.get_secret_value() if token else secrets.token_urlsafe(32)
