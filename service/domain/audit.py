"""The record of what admins changed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from service.domain.ids import KeyId

Act = Literal[
    "job.submit",
    "job.cancel",
    "job.retry",
    "job.delete",
    "bulk.start",
    "bulk.stop",
    "avatar.delete",
    "voice.delete",
    "model.pause",
    "model.resume",
    "model.warm",
    "webhook.replay",
    "webhook.test",
    "webhook.enable",
    "key.create",
    "key.budget",
    "key.revoke",
    "key.logout",
]


@dataclass(frozen=True)
class AuditEntry:
    """The admin with the key `key_id` did this. `id` is given by the store."""

    at: datetime
    key_id: KeyId
    act: Act
    target: str
    number: int = 1
    detail: str | None = None
    id: int = 0
