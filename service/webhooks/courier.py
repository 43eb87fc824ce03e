"""Sends what is owed as it falls due, a few at a time, and never too many to one host."""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Lock, Thread

from service.domain.event import DeliveryId, Try
from service.domain.ports import Clock
from service.log import Log
from service.store import deliveries
from service.store.database import Database
from service.webhooks.deliver import Sender

log = Log(__name__)

_SENDERS = 16
_MOST_PER_HOST = 4  # one that lets every try time out takes no more of the senders than these
_LOOK_SECONDS = 1.0  # retries fall due without a ring


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
        self._busy: Counter[str] = Counter()
        self._at_it: set[DeliveryId] = set()
        self._pool = ThreadPoolExecutor(_SENDERS, thread_name_prefix="sender")
        self._thread = Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more; what is being sent may end, which takes at most a try's timeout."""
        self._stopping = True
        self._owed.set()
        self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping:
            self._owed.wait(_LOOK_SECONDS)
            self._owed.clear()
            try:
                while not self._stopping and self._begin_some():
                    pass
            except Exception as fault:  # noqa: BLE001
                log.error("what is owed could not be looked up; trying again", fault)
                self._owed.wait(_LOOK_SECONDS)

    def _begin_some(self) -> bool:
        """Hand what is due to free senders; whether there may be more to hand out."""
        with self._lock:
            free = _SENDERS - sum(self._busy.values())
            full = [host for host, count in self._busy.items() if count >= _MOST_PER_HOST]
            at_it = set(self._at_it)
        if free == 0:
            return False
        due = self._db.read(
            lambda tx: deliveries.due(tx, self._clock(), busy_hosts=full, size=4 * _SENDERS)
        )
        begun = [self._begin(one, host) for one, host in due if one not in at_it]
        return any(begun)

    def _begin(self, delivery_id: DeliveryId, host: str) -> bool:
        with self._lock:
            if sum(self._busy.values()) >= _SENDERS or self._busy[host] >= _MOST_PER_HOST:
                return False
            self._busy[host] += 1
            self._at_it.add(delivery_id)
        sending = self._pool.submit(self._sender.send, delivery_id)
        sending.add_done_callback(lambda done: self._ended(delivery_id, host, done))
        return True

    def _ended(self, delivery_id: DeliveryId, host: str, done: "Future[Try | None]") -> None:
        with self._lock:
            self._busy[host] -= 1
            if not self._busy[host]:
                del self._busy[host]
            self._at_it.discard(delivery_id)
        self._owed.set()  # its place is free
        if done.cancelled():
            return
        if done.exception() is not None:
            # Its lease ends, and then it is tried again.
            log.error("webhook could not be tried", done.exception(), delivery=delivery_id)
        elif (made := done.result()) is not None:
            log.info("webhook tried", delivery=delivery_id, status=made.status, error=made.error)
