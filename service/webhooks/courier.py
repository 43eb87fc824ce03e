"""Sends due deliveries, with limits per host and per key."""

import logging
import time
from collections import Counter
from threading import Event, Lock, Thread

from service.domain.clock import Clock
from service.domain.errors import Unavailable
from service.domain.event import DeliveryId
from service.store import deliveries
from service.store.database import Database
from service.store.deliveries import Due
from service.webhooks.deliver import Sender

log = logging.getLogger(__name__)

_SENDERS = 16
# So that a host that times out, or a key with many of those, does not occupy all senders.
_MAX_PER_HOST = 4
_MAX_PER_KEY = 8
_POLL_SECONDS = 1.0  # retries become due without an event
_ERROR_PAUSE_SECONDS = 30.0  # pause of a delivery after an internal error
_STOP_SECONDS = 2.0


class Courier:
    """A thread that polls for due deliveries, and a thread for each that is being sent.

    Several processes on one database may run one: each delivery is leased by one sender at a time.
    """

    def __init__(self, db: Database, sender: Sender, clock: Clock, wakeup: Event) -> None:
        """`wakeup` is set when there may be a new delivery."""
        self._db = db
        self._sender = sender
        self._clock = clock
        self._wakeup = wakeup
        self._stopping = False
        self._lock = Lock()
        self._busy: Counter[str] = Counter()  # by host and by key
        self._in_flight: set[DeliveryId] = set()
        self._paused_until: dict[DeliveryId, float] = {}
        self._thread = Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Start no more tries, and wait a moment for those in flight. A try that is not recorded by
        then is repeated when its lease expires."""
        self._stopping = True
        self._wakeup.set()
        self._thread.join()
        deadline = time.monotonic() + _STOP_SECONDS
        while self._in_flight and time.monotonic() < deadline:
            time.sleep(0.02)

    def _run(self) -> None:
        while not self._stopping:
            self._wakeup.wait(_POLL_SECONDS)
            self._wakeup.clear()
            try:
                while not self._stopping and self.start_due():
                    pass
            except Unavailable:  # already logged
                time.sleep(_POLL_SECONDS)
            except Exception as fault:
                log.error("due deliveries could not be read; retrying", exc_info=fault)
                time.sleep(_POLL_SECONDS)

    def start_due(self) -> bool:
        """Start sending due deliveries; return whether there may be more."""
        with self._lock:
            if len(self._in_flight) >= _SENDERS:
                return False
            hosts = [name for name in self._busy if self._is_full(name, _MAX_PER_HOST)]
            owners = [name for name in self._busy if self._is_full(name, _MAX_PER_KEY)]
            now = time.monotonic()
            paused = [id_ for id_, until in self._paused_until.items() if until > now]
        due = self._db.read(
            lambda tx: deliveries.due(
                tx,
                self._clock(),
                busy_hosts=hosts,
                busy_keys=owners,
                paused=paused,
                size=4 * _SENDERS,
            )
        )
        has_started = [self._start_one(delivery) for delivery in due]
        return any(has_started)

    def _is_full(self, name: str, limit: int) -> bool:
        return self._busy[name] >= limit

    def _start_one(self, due: Due) -> bool:
        with self._lock:
            if (
                due.id in self._in_flight
                or self._paused_until.get(due.id, 0.0) > time.monotonic()
                or len(self._in_flight) >= _SENDERS
                or self._is_full(due.host, _MAX_PER_HOST)
                or self._is_full(due.key_id, _MAX_PER_KEY)
            ):
                return False
            self._busy.update((due.host, due.key_id))
            self._in_flight.add(due.id)
        # No thread pool: Python waits for a pool's threads at exit.
        Thread(target=self._send, args=(due,), name="sender", daemon=True).start()
        return True

    def _send(self, due: Due) -> None:
        try:
            outcome = self._sender.send(due.id)
        except Exception as fault:
            is_outage = isinstance(fault, Unavailable)
            log.error(
                "webhook could not be tried",
                exc_info=None if is_outage else fault,
                extra={"delivery": due.id},
            )
            self._pause(due.id)
        else:
            if outcome is not None:
                status, error = outcome.status, outcome.error
                log.info(
                    "webhook tried", extra={"delivery": due.id, "status": status, "error": error}
                )
        with self._lock:
            self._busy.subtract((due.host, due.key_id))
            self._busy = +self._busy  # without zero counts
            self._in_flight.discard(due.id)
        self._wakeup.set()  # a sender is free

    def _pause(self, delivery_id: DeliveryId) -> None:
        now = time.monotonic()
        with self._lock:
            current = {id_: until for id_, until in self._paused_until.items() if until > now}
            self._paused_until = {**current, delivery_id: now + _ERROR_PAUSE_SECONDS}
