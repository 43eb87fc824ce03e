"""Engines for SQLite and for Postgres, with every setting of theirs in one place."""

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
    """`postgres://` and `postgresql://` mean psycopg, the driver that is installed."""
    parsed = sa.make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def make_engine(
    url: str, *, read_only: bool = False, bounded: bool = False, keep_log: bool = False
) -> sa.Engine:
    """An engine for SQLite or Postgres; all of SQLite's own settings are made here.

    `bounded` is for the writer of a service: on Postgres nothing of it waits without end. With
    `keep_log` SQLite's log grows until somebody asks for a checkpoint.
    Parameters are hidden in its errors: they are prompts and secrets, and errors are logged.
    """
    parsed = parse(url)
    if parsed.get_backend_name() != "sqlite":
        return _postgres(parsed, read_only=read_only, bounded=bounded)
    options: dict[str, Any] = {}
    if read_only:
        options = {"isolation_level": "AUTOCOMMIT", "poolclass": sa.NullPool}
    engine = sa.create_engine(parsed, hide_parameters=True, **options)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # Python's sqlite3 must not begin on its own
        connection.executescript(PRAGMAS)
        if read_only:
            # There is one for each thread, so that each keeps little.
            connection.executescript("PRAGMA query_only = ON; PRAGMA cache_size = -1024;")
        if keep_log:
            connection.executescript("PRAGMA wal_autocheckpoint = 0;")

    if not read_only:
        # Not by an event: an engine that has a listener asks for all others at each statement.
        engine.dialect.do_begin = _begin_immediate  # type: ignore[assignment]
    return engine


def _begin_immediate(connection: Any) -> None:
    """A deferred BEGIN that later writes fails at once with SQLITE_BUSY."""
    connection.execute("BEGIN IMMEDIATE")


_MAX_READERS = 10
# A server that is cut off says nothing: so that this is noticed within some ten seconds.
NOTICE_SILENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


# A lock that is held for longer than the first of these is waited for aside, by aside.py: it must
# not hold up all others.
_WRITER_BOUNDS = (
    "SET lock_timeout = '100ms'; SET statement_timeout = '30s'; "
    "SET idle_in_transaction_session_timeout = '15s'"
)
# A read that cannot be answered in time is refused: whoever asked would wait without end.
_READER_BOUNDS = (
    "SET lock_timeout = '5s'; SET statement_timeout = '10s'; SET default_transaction_read_only = on"
)
READ_ONLY = "25006"  # SQLSTATE of a write to a session that only reads


def _postgres(url: sa.URL, *, read_only: bool, bounded: bool) -> sa.Engine:
    if not read_only:
        engine = sa.create_engine(url, hide_parameters=True, connect_args=NOTICE_SILENCE)
        event.listen(engine, "handle_error", _drop_read_only)
        if bounded:

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
    """Postgres's own code of what went wrong; None where the server said nothing."""
    found: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return found


def _drop_read_only(context: sa.engine.ExceptionContext) -> None:
    """After a failover a session may lead to a server that no longer takes writes: it is dropped,
    and the next one finds the server that does."""
    if sqlstate(context.original_exception) == READ_ONLY:
        context.is_disconnect = True


_MAX_STATEMENTS = 200


def _cursor() -> type[Any]:
    """A psycopg cursor that describes the columns of a statement once, not at each execution."""
    import psycopg  # only where Postgres is used

    class Cursor(psycopg.Cursor[Any]):
        known: ClassVar[dict[bytes, Any]] = {}

        @property
        def description(self) -> Any:
            if self._query is None or not self.pgresult or not self.pgresult.nfields:
                return super().description
            text = self._query.query
            if text not in self.known:
                if len(self.known) >= _MAX_STATEMENTS:
                    self.known.clear()
                self.known[text] = super().description
            return self.known[text]

    return Cursor


def check_durable(url: str) -> None:
    """Raise Unavailable unless what this database has committed outlives a power cut.

    SQLite is made so by the pragmas above; on Postgres it is the owner's settings that decide, and
    a mere crash of a server with `synchronous_commit = off` loses what was acknowledged.
    """
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite":
        return
    engine = sa.create_engine(parsed, poolclass=sa.NullPool, connect_args=NOTICE_SILENCE)
    with engine.connect() as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            value = connection.exec_driver_sql(f"SHOW {setting}").scalar_one()
            if value == "off":
                raise Unavailable(
                    f"this Postgres has {setting} = off: a crash would lose jobs; turn it on"
                )


_ROUNDS = 3


def check_sessions(url: str) -> None:
    """Raise Unavailable where a pooler lends the server's sessions for one transaction each.

    Nothing of a session holds there: a setting reaches whoever has the session next, who then is
    refused to write or is cut off, a prepared statement is not found again, and LISTEN hears
    nothing. Seen by the server's processes: two connections that are open at once have one each,
    and keep it. Nothing is left behind by the look: it comes before any other, which makes settings
    in a session that is not ours.
    """
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite":
        return
    engine = sa.create_engine(parsed, poolclass=sa.NullPool, connect_args=NOTICE_SILENCE)
    with engine.connect() as one, engine.connect() as other:
        of_one, of_other = set(), set()
        for _ in range(_ROUNDS):
            # One after the other, and then the other way round: a pooler that lends its sessions
            # in turn would show each connection its own.
            of_one.add(_server_process(one))
            of_other |= {_server_process(other), _server_process(other)}
            of_one.add(_server_process(one))
    if len(of_one) > 1 or len(of_other) > 1 or of_one == of_other:
        raise Unavailable(
            "this is a connection pooler that lends sessions by the transaction, as PgBouncer does "
            "with pool_mode=transaction: settings, LISTEN and prepared statements do not hold "
            "there; name the server's own address and port in RUSHES_DATABASE_URL, or a pool with "
            "pool_mode=session"
        )


def _server_process(connection: sa.Connection) -> int:
    """The server's process that serves a transaction of this connection."""
    found = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    connection.rollback()
    return int(found)
