"""Engines for SQLite and for Postgres, with every setting of theirs in one place."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

# FULL, because an answered 202 must outlive a power cut: NORMAL loses acknowledged rows.
_PRAGMAS = """
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
    PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 1000; PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -32768;
"""


def make_engine(url: str, *, read_only: bool = False) -> sa.Engine:
    """An engine for SQLite or Postgres; all of SQLite's own settings are made here."""
    parsed = sa.make_url(url)
    options: dict[str, Any] = {}
    if read_only:
        options = {"isolation_level": "AUTOCOMMIT", "poolclass": sa.NullPool}
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, **options)
    engine = sa.create_engine(parsed, **options)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # Python's sqlite3 must not begin on its own
        connection.executescript(_PRAGMAS)
        if read_only:
            connection.execute("PRAGMA query_only = ON")

    if not read_only:

        @event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            # A deferred BEGIN that later writes fails at once with SQLITE_BUSY.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
