"""The audit table: who changed what. Rows are never changed, nor deleted."""

from dataclasses import asdict

import sqlalchemy as sa

from service.domain.audit import AuditEntry
from service.store.admin_tables import AuditRow
from service.store.transaction import Transaction

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
