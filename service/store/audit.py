"""The audit log: which admin changed what, and when. Rows are never changed, nor deleted."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from service.domain.ids import KeyId
from service.store.admin_tables import AuditRow
from service.store.transaction import Transaction

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
    "webhook.create",
    "webhook.replay",
    "webhook.test",
    "webhook.enable",
    "webhook.rotate",
    "webhook.delete",
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


_audit: sa.Table = AuditRow.__table__  # type: ignore[attr-defined]


def insert(tx: Transaction, entry: AuditEntry) -> None:
    values = asdict(entry)
    del values["id"]
    tx.execute(sa.insert(_audit), values)


def page(tx: Transaction, *, size: int, before: int | None = None) -> list[AuditEntry]:
    """List entries, the newest first, starting before the one with the id `before`."""
    statement = sa.select(_audit).order_by(_audit.c.id.desc()).limit(size)
    if before is not None:
        statement = statement.where(_audit.c.id < before)
    return [AuditEntry(**row) for row in tx.execute(statement).mappings()]


@dataclass(frozen=True)
class Actor:
    """An admin who changes something, and when. Changes by other keys have no actor."""

    key_id: KeyId
    at: datetime

    def record(self, tx: Transaction, act: Act, target: str, detail: str | None = None) -> None:
        insert(tx, AuditEntry(self.at, self.key_id, act, target, detail=detail))
