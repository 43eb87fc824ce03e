"""Secrets that are given by the settings, or made once and kept in the data directory."""

import os
import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

from service.domain.errors import Unavailable
from service.domain.key import new_secret
from service.lifecycle.api_keys import create_key
from service.settings import KEY_FILE, MIN_SECRET, Settings
from service.store import keys
from service.store.database import Database


def link_secret(settings: Settings) -> bytes:
    """What signs the clip URLs: given, or made once, so that links outlive a restart."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    return kept_secret(settings.data_dir / "link-secret", secrets.token_urlsafe(32)).encode()


def kept_secret(path: Path, fresh: str) -> str:
    """The secret in `path`, or `fresh`, then kept there and readable by its owner only.

    Whoever reads it, reads all of it: the file appears with its content, or not at all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-") as scratch:
            scratch.write(fresh)
            scratch.flush()
            os.fsync(scratch.fileno())
            with suppress(FileExistsError):  # another process was quicker: its secret counts
                os.link(scratch.name, path)
    secret = path.read_text().strip()
    if len(secret) < MIN_SECRET:
        raise Unavailable(f"{path} holds no secret; remove it, and a new one is made")
    return secret


def first_key(settings: Settings, db: Database, now: datetime) -> None:
    """See to it that somebody can come in: the owner's chosen key, or else one made and kept."""
    chosen = settings.bootstrap_key
    if chosen is not None:
        db.write(lambda tx: create_key(tx, chosen.get_secret_value(), now)).result()
    elif not any(key.admin and key.revoked_at is None for key in db.read(keys.every)):
        secret = kept_secret(settings.data_dir / KEY_FILE, new_secret())
        db.write(lambda tx: create_key(tx, secret, now)).result()
