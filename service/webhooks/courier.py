"""Sends what is owed as it falls due, a few at a time, and never too many to one host."""

import time
from collections import Counter
from threading import Event, Lock, Thread

from service.domain.errors import Unavailable
from service.domain.ports import Clock
from service.domain.webhook import DeliveryId
from service.log import Log
from service.store import deliveries
from service.store.database import Database
from service.store.deliveries import Due
from service.webhooks.deliver import Sender

log = Log(__name__)

_SENDERS = 16
# One host that lets every try time out, or one key with many such, holds no more of the senders.
_MAX_PER_HOST = 4
_MAX_PER_KEY = 8
_LOOK_SECONDS = 1.0  # retries fall due without a ring
_FAULT_SECONDS = 30.0  # a send that failed through our own fault is left alone for so long
_STOP_SECONDS = 2.0


class Courier:
    """A thread that looks for what is due, and a few more that send it.

    Every process on a database may run one: a delivery is taken by one sender at a time.
    """

    def __init__(self, db: Database, sender: Sender, clock: Clock, owed: Event) -> None:
        """`owed` is set whenever there may be something new to send."""
        self._db = db
        self._sender = sender
        self._clock = clock
        self._owed = owed
        self._stopping = False
        self._lock = Lock()
        self._busy: Counter[str] = Counter()  # by host and by key
        self._at_it: set[DeliveryId] = set()
        self._left_alone: dict[DeliveryId, float] = {}
        self._thread = Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more, and leave what is being sent after a moment: a receiver that hangs
        must not hold up a stop. What was not recorded is sent again, when its lease ends."""
        self._stopping = True
        self._owed.set()
        self._thread.join()
        deadline = time.monotonic() + _STOP_SECONDS
        while self._at_it and time.monotonic() < deadline:
            time.sleep(0.02)

    def _run(self) -> None:
        while not self._stopping:
            self._owed.wait(_LOOK_SECONDS)
            self._owed.clear()
            try:
                while not self._stopping and self.begin_some():
                    pass
            except Unavailable:  # it has been told
                time.sleep(_LOOK_SECONDS)
            except Exception as fault:  # noqa: BLE001
                log.error("what is owed could not be looked up; trying again", fault)
                time.sleep(_LOOK_SECONDS)

    def begin_some(self) -> bool:
        """Hand what is due to free senders; whether there may be more to hand out."""
        with self._lock:
            if len(self._at_it) >= _SENDERS:
                return False
            hosts = [name for name in self._busy if self._full(name, _MAX_PER_HOST)]
            owners = [name for name in self._busy if self._full(name, _MAX_PER_KEY)]
        due = self._db.read(
            lambda tx: deliveries.due(
                tx, self._clock(), busy_hosts=hosts, busy_keys=owners, size=4 * _SENDERS
            )
        )
        begun = [self._begin(one) for one in due]
        return any(begun)

    def _full(self, name: str, most: int) -> bool:
        return self._busy[name] >= most

    def _begin(self, due: Due) -> bool:
        with self._lock:
            if (
                due.id in self._at_it
                or self._left_alone.get(due.id, 0.0) > time.monotonic()
                or len(self._at_it) >= _SENDERS
                or self._full(due.host, _MAX_PER_HOST)
                or self._full(due.key_id, _MAX_PER_KEY)
            ):
                return False
            self._busy.update((due.host, due.key_id))
            self._at_it.add(due.id)
        # A thread of its own, and no pool: Python waits for a pool's threads before it ends.
        Thread(target=self._send, args=(due,), name="sender", daemon=True).start()
        return True

    def _send(self, due: Due) -> None:
        try:
            made = self._sender.send(due.id)
        except Exception as fault:  # noqa: BLE001
            known = isinstance(fault, Unavailable)
            log.error("webhook could not be tried", None if known else fault, delivery=due.id)
            self._leave_alone(due.id)
        else:
            if made is not None:
                log.info("webhook tried", delivery=due.id, status=made.status, error=made.error)
        with self._lock:
            self._busy.subtract((due.host, due.key_id))
            self._busy = +self._busy  # without those that are at nothing
            self._at_it.discard(due.id)
        self._owed.set()  # its place is free

    def _leave_alone(self, delivery_id: DeliveryId) -> None:
        now = time.monotonic()
        with self._lock:
            kept = {one: until for one, until in self._left_alone.items() if until > now}
            self._left_alone = {**kept, delivery_id: now + _FAULT_SECONDS}
