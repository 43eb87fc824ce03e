"""Deliver webhooks: one try at a delivery, and the thread that starts due ones, with limits per
host and per key."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Lock, Thread

from service.domain.clock import Clock
from service.domain.errors import Unavailable
from service.domain.event import Delivery, DeliveryId, DeliveryState, Endpoint, Secrets, Try
from service.domain.job import OWN_API, Job
from service.egress.client import Answer, Egress, TargetFailed, TargetRefused
from service.failpoint import failpoint
from service.store import deliveries, events, keys
from service.store.database import Database
from service.store.deliveries import Due
from service.store.transaction import Transaction
from service.webhooks import sign
from service.webhooks.timetable import next_try

TIMEOUT = timedelta(seconds=15)
# Longer than any try can take: a sender with a lease this old has died.
LEASE = timedelta(seconds=60)
# An endpoint at which every try failed for so long is disabled.
MAX_FAILING = timedelta(days=5)
_GONE = 410

Render = Callable[[Delivery, Job | None], bytes]


@dataclass(frozen=True)
class _Leased:
    """A leased delivery with its body and signing secrets."""

    delivery: Delivery
    body: bytes
    secrets: Secrets


@dataclass(frozen=True)
class Sender:
    """Makes tries; thread-safe."""

    db: Database
    egress: Egress
    renders: Mapping[str, Render]  # by the API that a job came through
    clock: Clock
    timeout: timedelta = TIMEOUT
    on_try: Callable[[Delivery, Try], None] | None = None  # told of each try that is recorded

    def send(self, delivery_id: DeliveryId) -> Try | None:
        """Make one try; None if the delivery is not due, or leased by another sender.

        At-least-once: after a crash between the request and its record it is sent again, with the
        same id and body.
        """
        lease = self.db.write(lambda tx: self._take(tx, delivery_id)).result()
        if lease is None:
            return None
        failpoint("webhook.taken")
        outcome, answer = self._try(lease)
        failpoint("webhook.sent")
        record = self.db.write(lambda tx: _record(tx, lease.delivery, outcome, answer))
        if record.result() and self.on_try is not None:
            self.on_try(lease.delivery, outcome)
        return outcome

    def _take(self, tx: Transaction, delivery_id: DeliveryId) -> _Leased | None:
        delivery = deliveries.take(tx, delivery_id, now=self.clock(), lease=LEASE)
        if delivery is None:
            return None
        body = delivery.body
        if body is None:
            body = self._render(delivery, _job_then(tx, delivery))
            deliveries.set_body(tx, delivery, body)
        return _Leased(delivery, body, _secrets(tx, delivery))

    def _render(self, delivery: Delivery, job: Job | None) -> bytes:
        """Render in the shape of the API through which the URL was given."""
        api = OWN_API if job is None or delivery.endpoint_id is not None else job.api
        render = self.renders.get(api) or self.renders[OWN_API]
        return render(delivery, job)

    def _try(self, lease: _Leased) -> tuple[Try, Answer | None]:
        """Sign and send. The clock is read for each try, as receivers check the signature's age."""
        now = self.clock()
        signature = sign.headers(lease.delivery.id, lease.body, lease.secrets.signing(now), now)
        headers = {"Content-Type": "application/json", **signature}
        began = time.perf_counter()
        try:
            answer = self.egress.post(
                lease.delivery.url, headers=headers, content=lease.body, timeout=self.timeout
            )
        except TargetRefused:
            return self._outcome(began, error="address_refused"), None
        except TargetFailed as error:
            return self._outcome(began, error=error.reason), None
        return self._outcome(began, status=answer.status), answer

    def _outcome(self, began: float, *, status: int | None = None, error: str | None = None) -> Try:
        duration_ms = round((time.perf_counter() - began) * 1000)
        return Try(at=self.clock(), status=status, error=error, duration_ms=duration_ms)


def _job_then(tx: Transaction, delivery: Delivery) -> Job | None:
    """Return the job as it was when the event happened."""
    assert delivery.event_id is not None, "an event is kept until its deliveries are rendered"
    event = events.get(tx, delivery.event_id)
    return None if event is None else event.job


def _secrets(tx: Transaction, delivery: Delivery) -> Secrets:
    """Return the endpoint's secrets, or the key's for a job's own `webhook_url`."""
    if delivery.endpoint_id is None:
        return keys.signing_secrets(tx, delivery.key_id)
    endpoint = deliveries.get_endpoint(tx, delivery.endpoint_id)
    assert endpoint is not None, "an endpoint's deliveries are deleted with it"
    return endpoint.secrets


def _record(tx: Transaction, delivery: Delivery, outcome: Try, answer: Answer | None) -> bool:
    """Record the outcome; False if another sender has leased the delivery since."""
    state, next_at = _next_state(delivery, outcome, answer)
    is_recorded = deliveries.settle(tx, delivery, outcome, state=state, next_at=next_at)
    if is_recorded and delivery.endpoint_id is not None:
        endpoint = deliveries.get_endpoint(tx, delivery.endpoint_id)
        if endpoint is not None and endpoint.disabled_at is None:
            _note_outcome(tx, endpoint, outcome)
    return is_recorded


def _next_state(
    delivery: Delivery, outcome: Try, answer: Answer | None
) -> tuple[DeliveryState, datetime | None]:
    if outcome.succeeded:
        return DeliveryState.DELIVERED, None
    if outcome.status == _GONE:
        return DeliveryState.DISABLED, None
    next_at = next_try(
        delivery.attempt + 1, outcome.at, None if answer is None else answer.retry_after
    )
    return (DeliveryState.DEAD if next_at is None else DeliveryState.PENDING), next_at


def _note_outcome(tx: Transaction, endpoint: Endpoint, outcome: Try) -> None:
    """Record since when an endpoint fails, and disable it when it is gone."""
    if outcome.succeeded:
        if endpoint.failing_since is not None:
            deliveries.set_failing_since(tx, endpoint.id, None)
        return
    since = endpoint.failing_since or outcome.at
    if outcome.status == _GONE:
        reason = "it answered 410 Gone"
    elif outcome.at - since >= MAX_FAILING:
        reason = f"every try failed for {MAX_FAILING.days} days"
    else:
        deliveries.set_failing_since(tx, endpoint.id, since)
        return
    deliveries.disable_endpoint(tx, endpoint.id, now=outcome.at, reason=reason)
    deliveries.disable_pending(tx, endpoint.id)


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
