"""What a submit says to its database, word for word, to be said again to another SQLite."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from service.domain.ids import KeyId
from service.domain.job import Idempotency
from service.domain.limits import Limits
from service.store.database import Database
from service.store.transaction import Transaction
from tests import make
from tests.make import submit


@dataclass(frozen=True)
class Submit:
    """A job, and the statements that make it, each with its values."""

    job_id: str
    statements: list[tuple[str, Any]]


@dataclass(frozen=True)
class Recorded:
    """A database file of this release with one key and no jobs, and submits that fit it."""

    image: bytes
    submits: list[Submit]


def record(path: Path, number: int) -> Recorded:
    """Submit jobs to the migrated file at `path` as the service does, and listen to its driver."""
    url = f"sqlite:///{path}"
    db = Database(url, lambda topics: None)
    key_id, _ = make.key(db)
    db.close()
    assert not path.with_name(f"{path.name}-wal").exists(), "the file holds everything"
    image = path.read_bytes()
    db = Database(url, lambda topics: None)
    try:
        waiting = [db.write(partial(_submit, key_id, f"order-{n}")) for n in range(number)]
        return Recorded(image, [submitted.result() for submitted in waiting])
    finally:
        db.close()


def _submit(key_id: KeyId, name: str, tx: Transaction) -> Submit:
    heard: list[tuple[str, Any]] = []

    def hear(_connection: Any, _cursor: Any, sql: str, values: Any, *_: Any) -> None:
        if not sql.startswith("BEGIN"):  # of the whole group, not of this job
            heard.append((sql, values))

    named = Idempotency(name, fingerprint=b"f" * 32)
    asked = make.submission(key_id, idempotency=named)
    sa.event.listen(tx.connection, "before_cursor_execute", hear)
    try:
        accepted = submit(tx, asked, Limits(max_queued_per_key=1_000_000), make.START)
    finally:
        sa.event.remove(tx.connection, "before_cursor_execute", hear)
    return Submit(accepted.job.id, heard)
