"""The database of a service in another process, looked at and meddled with from here."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from tests.chaos.scale import LONG

PendingCommit = Literal["jobs", "deliveries", "turns"]
_UNTIL: dict[PendingCommit, str] = {
    "jobs": "lease_until",
    "deliveries": "lease_until",
    "turns": "until",
}


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with _opened(folder) as connection:
        return connection.execute(sql).fetchall()


def change(folder: Path, sql: str) -> int:
    """How many rows were changed."""
    with _opened(folder) as connection, connection:
        return connection.execute(sql).rowcount


def let_leases_end(folder: Path, *tables: PendingCommit) -> None:
    """Say of all that is held in these tables that its time is over: its holders are dead.

    They are held for 15 to 60 seconds, by leases that no setting shortens. A long run changes
    nothing here, and waits.
    """
    if LONG:
        return
    for table in tables:
        until = _UNTIL[table]
        change(folder, f"UPDATE {table} SET {until} = 0 WHERE {until} IS NOT NULL")


@contextmanager
def _opened(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(folder / "rushes.db", timeout=30)) as connection:
        yield connection
