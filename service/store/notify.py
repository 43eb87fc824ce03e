"""Topics of commits by other processes on the same Postgres, by NOTIFY and LISTEN."""

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from service.domain.topics import Topic, ended_job
from service.store.engine import NOTICE_SILENCE

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

_CHANNEL = "rushes"
_RECONNECT_SECONDS = 1.0
_POLL_SECONDS = 0.2  # how long a close may have to wait
_MAX_TOPICS = 150  # of about 40 bytes; Postgres takes at most 8,000 in one payload
_NOTIFY = sa.text("SELECT pg_notify(:channel, :payload)")


class PostgresNotify:
    """Sends topics to other processes, and passes theirs to `on_topics`.

    Topics sent while its connection is broken are lost, so subscribers must also poll.
    """

    def __init__(self, url: str, on_topics: Callable[[Sequence[Topic]], None]) -> None:
        self._url = sa.make_url(url).set(drivername="postgresql").render_as_string(False)
        self._on_topics = on_topics
        self._name = secrets.token_hex(8)  # to leave out its own topics
        self.listening = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notify-listener", daemon=True)
        self._thread.start()

    def notify_others(self, connection: sa.Connection, topics: Sequence[Topic]) -> None:
        """Notify the other processes when this transaction commits."""
        distinct = [each for each in dict.fromkeys(topics) if ended_job(each) is None]
        for start in range(0, len(distinct), _MAX_TOPICS):
            payload = " ".join([self._name, *distinct[start : start + _MAX_TOPICS]])
            connection.execute(_NOTIFY, {"channel": _CHANNEL, "payload": payload})

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        import psycopg  # only where Postgres is used

        conninfo = psycopg.conninfo.make_conninfo(self._url, **NOTICE_SILENCE)
        while not self._stop.is_set():
            try:
                with psycopg.connect(conninfo, autocommit=True) as connection:
                    connection.execute(f"LISTEN {_CHANNEL}")
                    self.listening.set()
                    self._listen(connection)
            except psycopg.Error as error:
                self.listening.clear()
                log.warning("connection for LISTEN is broken; reconnecting", extra={"error": error})
                self._stop.wait(_RECONNECT_SECONDS)

    def _listen(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        while not self._stop.is_set():
            for notice in connection.notifies(timeout=_POLL_SECONDS):
                sender, *topics = notice.payload.split(" ")
                if sender != self._name:
                    self._on_topics([Topic(topic) for topic in topics])
