"""What other processes on the same Postgres changed: NOTIFY tells it, a thread here listens."""

import secrets
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from service.log import Log
from service.store.engine import NOTICE_SILENCE

if TYPE_CHECKING:
    import psycopg

log = Log(__name__)

_CHANNEL = "rushes"
_AGAIN_SECONDS = 1.0
_LOOK_UP_SECONDS = 0.2  # how long a close may have to wait
_MAX_TOPICS = 150  # of about 40 bytes; Postgres takes at most 8,000 in one payload
_NOTIFY = sa.text("SELECT pg_notify(:channel, :payload)")


class PostgresNotify:
    """Tells other processes of topics, and hands on those that they ring.

    What is rung while its connection is broken is missed, so that whoever waits for a topic must
    look by itself now and then.
    """

    def __init__(self, url: str, tell: Callable[[Sequence[str]], None]) -> None:
        self._url = sa.make_url(url).set(drivername="postgresql").render_as_string(False)
        self._tell = tell
        self._name = secrets.token_hex(8)  # so that nobody hears itself
        self.listening = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ear", daemon=True)
        self._thread.start()

    def notify_others(self, connection: sa.Connection, topics: Sequence[str]) -> None:
        """Tell the other processes, if and when this transaction commits."""
        distinct = list(dict.fromkeys(topics))
        for start in range(0, len(distinct), _MAX_TOPICS):
            payload = " ".join([self._name, *distinct[start : start + _MAX_TOPICS]])
            connection.execute(_NOTIFY, {"channel": _CHANNEL, "payload": payload})

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        import psycopg  # only where Postgres is used

        where = psycopg.conninfo.make_conninfo(self._url, **NOTICE_SILENCE)
        while not self._stop.is_set():
            try:
                with psycopg.connect(where, autocommit=True) as connection:
                    connection.execute(f"LISTEN {_CHANNEL}")
                    self.listening.set()
                    self._listen(connection)
            except psycopg.Error as error:
                self.listening.clear()
                log.warning("other processes cannot be heard just now", error=error)
                self._stop.wait(_AGAIN_SECONDS)

    def _listen(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        while not self._stop.is_set():
            for notice in connection.notifies(timeout=_LOOK_UP_SECONDS):
                who, *topics = notice.payload.split(" ")
                if who != self._name:
                    self._tell(topics)
