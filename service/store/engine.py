"""SQLAlchemy engines for SQLite and Postgres, with all their settings."""

from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import event

from service.domain.errors import Unavailable

# FULL, because an answered 202 must outlive a power cut: NORMAL loses acknowledged rows.
PRAGMAS = """
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
    PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 1000; PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -8192;
"""


def parse(url: str) -> sa.URL:
    """Parse a database URL; `postgres://` and `postgresql://` select the psycopg driver."""
    parsed_url = sa.make_url(url)
    if parsed_url.drivername in ("postgres", "postgresql"):
        return parsed_url.set(drivername="postgresql+psycopg")
    return parsed_url


def make_engine(
    url: str, *, read_only: bool = False, bounded: bool = False, keep_log: bool = False
) -> sa.Engine:
    """Make an engine for SQLite or Postgres.

    `bounded` sets lock and statement timeouts on Postgres, for the service's writer. `keep_log`
    turns SQLite's automatic checkpoints off. Errors hide statement parameters, which are prompts
    and secrets, because errors are logged.
    """
    parsed_url = parse(url)
    if parsed_url.get_backend_name() != "sqlite":
        return _postgres(parsed_url, read_only=read_only, with_timeouts=bounded)
    options: dict[str, Any] = {}
    if read_only:
        options = {"isolation_level": "AUTOCOMMIT", "poolclass": sa.NullPool}
    engine = sa.create_engine(parsed_url, hide_parameters=True, **options)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # Python's sqlite3 must not begin on its own
        connection.executescript(PRAGMAS)
        if read_only:
            # One connection per thread, so each has a small cache.
            connection.executescript("PRAGMA query_only = ON; PRAGMA cache_size = -1024;")
        if keep_log:
            connection.executescript("PRAGMA wal_autocheckpoint = 0;")

    if not read_only:
        # Not by an event: a listener makes each statement of the engine slower.
        engine.dialect.do_begin = _begin_immediate  # type: ignore[assignment]
    return engine


def _begin_immediate(connection: Any) -> None:
    """Take the write lock at BEGIN: a deferred one that writes later may fail with SQLITE_BUSY."""
    connection.execute("BEGIN IMMEDIATE")


_MAX_READERS = 10
# So that a server that is cut off is noticed within some ten seconds.
NOTICE_SILENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


# Work that waits for a lock for longer than `lock_timeout` is set aside by lock_waits.py, so that
# it does not block other work.
_WRITER_BOUNDS = (
    "SET lock_timeout = '100ms'; SET statement_timeout = '30s'; "
    "SET idle_in_transaction_session_timeout = '15s'"
)
# A read that takes longer fails, so that its caller does not wait without end.
_READER_BOUNDS = (
    "SET lock_timeout = '5s'; SET statement_timeout = '10s'; SET default_transaction_read_only = on"
)
READ_ONLY = "25006"  # SQLSTATE of a write to a session that only reads


def _postgres(url: sa.URL, *, read_only: bool, with_timeouts: bool) -> sa.Engine:
    if not read_only:
        engine = sa.create_engine(url, hide_parameters=True, connect_args=NOTICE_SILENCE)
        event.listen(engine, "handle_error", _drop_read_only)
        if with_timeouts:

            @event.listens_for(engine, "connect")
            def _bound(connection: Any, _record: object) -> None:
                connection.execute(_WRITER_BOUNDS)
                connection.commit()

        return engine
    engine = sa.create_engine(
        url,
        hide_parameters=True,
        connect_args={**NOTICE_SILENCE, "cursor_factory": _cursor()},
        isolation_level="AUTOCOMMIT",
        pool_size=_MAX_READERS,
        pool_timeout=5,
        max_overflow=0,
        pool_reset_on_return=None,  # nothing is left open to roll back
    )

    @event.listens_for(engine, "connect")
    def _only_read(connection: Any, _record: object) -> None:
        connection.execute(_READER_BOUNDS)

    return engine


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of a database error; None where the server sent none."""
    code: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return code


def _drop_read_only(context: sa.engine.ExceptionContext) -> None:
    """Drop a session whose server became read-only in a failover: a new one finds the primary."""
    if sqlstate(context.original_exception) == READ_ONLY:
        context.is_disconnect = True


_MAX_STATEMENTS = 200


def _cursor() -> type[Any]:
    """Make a psycopg cursor class that caches each statement's column descriptions."""
    import psycopg  # only where Postgres is used

    class Cursor(psycopg.Cursor[Any]):
        descriptions: ClassVar[dict[bytes, Any]] = {}

        @property
        def description(self) -> Any:
            if self._query is None or not self.pgresult or not self.pgresult.nfields:
                return super().description
            text = self._query.query
            if text not in self.descriptions:
                if len(self.descriptions) >= _MAX_STATEMENTS:
                    self.descriptions.clear()
                self.descriptions[text] = super().description
            return self.descriptions[text]

    return Cursor


def check_durable(url: str) -> None:
    """Raise Unavailable unless commits to this database survive a power cut.

    SQLite's pragmas above ensure it; on Postgres the server's settings decide: even a crash with
    `synchronous_commit = off` loses acknowledged commits.
    """
    parsed_url = parse(url)
    if parsed_url.get_backend_name() == "sqlite":
        return
    engine = sa.create_engine(parsed_url, poolclass=sa.NullPool, connect_args=NOTICE_SILENCE)
    with engine.connect() as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            value = connection.exec_driver_sql(f"SHOW {setting}").scalar_one()
            if value == "off":
                raise Unavailable(
                    f"Postgres has {setting} = off, so a crash would lose jobs; turn it on"
                )


_ROUNDS = 3


def check_sessions(url: str) -> None:
    """Raise Unavailable behind a pooler that assigns server sessions by the transaction.

    Session settings, prepared statements and LISTEN do not work there. Found by the server's
    process ids: two connections that are open at once must have one each, and keep it. Runs before
    any other connection is made, since each of those makes settings in its session.
    """
    parsed_url = parse(url)
    if parsed_url.get_backend_name() == "sqlite":
        return
    engine = sa.create_engine(parsed_url, poolclass=sa.NullPool, connect_args=NOTICE_SILENCE)
    with engine.connect() as first, engine.connect() as second:
        first_pids, second_pids = set(), set()
        for _ in range(_ROUNDS):
            # In this order, since a pooler that assigns sessions in turn could otherwise give each
            # connection the same one every time.
            first_pids.add(_server_process(first))
            second_pids |= {_server_process(second), _server_process(second)}
            first_pids.add(_server_process(first))
    if len(first_pids) > 1 or len(second_pids) > 1 or first_pids == second_pids:
        raise Unavailable(
            "RUSHES_DATABASE_URL names a connection pooler in transaction mode (PgBouncer's "
            "pool_mode=transaction), where session settings, LISTEN and prepared statements do not "
            "work; name the server's own address and port, or a pool with pool_mode=session"
        )


def _server_process(connection: sa.Connection) -> int:
    """Return the id of the server process that serves a transaction of this connection."""
    pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    connection.rollback()
    return int(pid)
