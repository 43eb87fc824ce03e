"""Who is sent to when, with a sender that a test holds in its hand."""

import threading
import time
from collections import Counter
from threading import Event

import pytest

from service.domain.errors import Unavailable
from service.domain.event import Delivery, DeliveryId, DeliveryState, Try
from service.domain.ids import KeyId
from service.store import deliveries
from service.store.database import Database
from service.webhooks import deliver as module
from service.webhooks.deliver import Courier
from tests import make


class HeldSender:
    """Sends to nobody: what it takes waits until it is let go, and then it is delivered."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.begun: list[DeliveryId] = []
        self.sent: list[DeliveryId] = []
        self.release = Event()
        self.fault: Exception | None = None

    def send(self, delivery_id: DeliveryId) -> Try | None:
        self.begun.append(delivery_id)
        if self.fault is not None:
            raise self.fault
        taken = make.do(
            self.db,
            lambda tx: deliveries.take(tx, delivery_id, now=make.START, lease=make.LEASE),
        )
        if taken is None:
            return None
        self.sent.append(delivery_id)
        assert self.release.wait(20)
        made, done = Try(at=make.START, status=200), DeliveryState.DELIVERED
        make.do(
            self.db,
            lambda tx: deliveries.settle(tx, taken, made, state=done, next_at=None),
        )
        return made


def enqueue(db: Database, key_id: KeyId, number: int, host: str) -> DeliveryId:
    delivery = Delivery(
        id=DeliveryId(f"msg_{number:026}"),
        key_id=key_id,
        event="webhook.test",
        url=f"https://{host}/",
        state=DeliveryState.PENDING,
        created_at=make.START,
        next_at=make.START,
    )
    make.do(db, lambda tx: deliveries.insert(tx, delivery))
    return delivery.id


@pytest.fixture
def sender(db: Database) -> HeldSender:
    return HeldSender(db)


@pytest.fixture
def courier(db: Database, sender: HeldSender, clock: make.FakeClock) -> Courier:
    return Courier(db, sender, clock, Event())  # type: ignore[arg-type]


def until(holds: object) -> None:
    deadline = time.monotonic() + 60
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def drain(courier: Courier) -> None:
    while courier.start_due():
        pass


def test_one_host_holds_four_senders_and_the_others_go_on(
    db: Database, key_id: KeyId, courier: Courier, sender: HeldSender
) -> None:
    slow = [enqueue(db, key_id, n, "slow.example") for n in range(100)]
    other = enqueue(db, key_id, 100, "other.example")

    drain(courier)

    until(lambda: len(sender.begun) == 5)
    assert other in sender.begun
    assert len(set(slow) & set(sender.begun)) == 4
    sender.release.set()


def test_one_key_with_many_hosts_leaves_senders_to_the_other_keys(
    db: Database, key_id: KeyId, courier: Courier, sender: HeldSender
) -> None:
    for number in range(100):
        enqueue(db, key_id, number, f"host{number}.example")
    stranger, _ = make.key(db)
    theirs = enqueue(db, stranger, 100, "stranger.example")

    drain(courier)

    until(lambda: len(sender.begun) == 9)
    assert theirs in sender.begun
    sender.release.set()


def test_a_place_is_free_again_after_a_send(
    db: Database, key_id: KeyId, courier: Courier, sender: HeldSender
) -> None:
    sender.release.set()
    for number in range(12):
        enqueue(db, key_id, number, "slow.example")

    deadline = time.monotonic() + 60
    while len(set(sender.sent)) < 12:
        drain(courier)
        assert time.monotonic() < deadline
    until(lambda: not courier._in_flight)

    # What was looked up before it was sent may have been begun once more, and is not due then.
    assert sorted(sender.sent) == sorted(set(sender.sent))
    assert courier._busy == Counter()


@pytest.mark.parametrize("fault", [Unavailable("away"), RuntimeError("as planned")])
def test_a_send_that_fails_by_our_own_fault_is_left_alone_for_a_while(
    db: Database,
    key_id: KeyId,
    courier: Courier,
    sender: HeldSender,
    fault: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sender.fault = fault
    enqueue(db, key_id, 0, "a.example")
    for _ in range(20):
        drain(courier)
        until(lambda: not courier._in_flight)
    assert len(sender.begun) == 1

    moment = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: moment + 31)
    drain(courier)
    monkeypatch.undo()
    until(lambda: len(sender.begun) == 2)


def test_a_stop_does_not_wait_for_a_receiver_that_hangs(
    db: Database, key_id: KeyId, courier: Courier, sender: HeldSender
) -> None:
    enqueue(db, key_id, 0, "a.example")
    courier.start()
    until(lambda: sender.begun)

    courier.stop()

    assert courier._in_flight, "it waited until the receiver was done"
    assert all(t.daemon for t in threading.enumerate() if t.name == "sender")
    sender.release.set()


def test_many_deliveries_that_are_left_alone_hide_no_other(
    db: Database, key_id: KeyId, courier: Courier, sender: HeldSender
) -> None:
    sender.fault = RuntimeError("a fault of our own")
    keys = [make.key(db)[0] for _ in range(8)]
    failing = {enqueue(db, keys[n % 8], n, f"h{n}.example") for n in range(64)}
    while len(sender.begun) < 64:
        drain(courier)
        until(lambda: not courier._in_flight)
    sender.fault = None
    sender.release.set()

    last = enqueue(db, key_id, 99, "z.example")
    drain(courier)

    until(lambda: last in sender.sent)
    assert failing == set(sender.begun) - {last}
