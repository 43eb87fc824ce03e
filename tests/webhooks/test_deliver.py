import dataclasses
import json
from datetime import datetime, timedelta
from functools import partial

import pytest
from standardwebhooks import Webhook

from service.api.webhook_body import MAX_BYTES
from service.domain.attempt import Progress
from service.domain.errors import Conflict, NotFound
from service.domain.event import (
    DEFAULT_EVENTS,
    Delivery,
    DeliveryFilter,
    DeliveryId,
    DeliveryState,
    Endpoint,
    Try,
)
from service.domain.ids import KeyId
from service.domain.job import OWN_API, Job, Scope
from service.domain.limits import Limits
from service.lifecycle.jobs import request_cancel
from service.store import deliveries, jobs, keys, moves
from service.store.database import Database
from service.store.transaction import Transaction
from service.webhooks import endpoints as use
from service.webhooks.deliver import MAX_FAILING, Sender
from service.webhooks.sign import encode_secret
from service.webhooks.timetable import MAX_TRIES
from tests import make
from tests.make import submit
from tests.webhooks.receiver import Receiver, body_of


def canceled(db: Database, key_id: KeyId, now: datetime, **changes: object) -> Job:
    """A job that has just come to an end: something is owed."""
    asked = make.submission(key_id, **changes)
    job = make.do(db, lambda tx: submit(tx, asked, Limits(), now)).job
    ended: Job = make.do(db, lambda tx: request_cancel(tx, job.id, Scope(key_id), now))
    return ended


def registered(db: Database, key_id: KeyId, url: str, *events: str) -> Endpoint:
    made: Endpoint = make.do(
        db, lambda tx: use.register(tx, key_id, url, events or DEFAULT_EVENTS, make.START)
    )
    return made


def owed(db: Database, key_id: KeyId) -> list[Delivery]:
    return db.read(lambda tx: deliveries.page(tx, key_id, size=100, filters=DeliveryFilter()))


def only(db: Database, key_id: KeyId) -> Delivery:
    (found,) = owed(db, key_id)
    return found


def send(sender: Sender, db: Database, key_id: KeyId) -> Try:
    made = sender.send(only(db, key_id).id)
    assert made is not None
    return made


def test_a_jobs_end_arrives_signed_and_frozen(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    clock.now = datetime.now(clock.now.tzinfo)
    job = canceled(db, key_id, clock(), webhook_url=receiver.url("ok"))

    send(sender, db, key_id)

    (got,) = receiver.got("ok")
    secrets = make.do(db, lambda tx: keys.signing_secrets(tx, key_id))
    body = Webhook(encode_secret(secrets.present)).verify(body_of(got), got["headers"])
    assert body["type"] == "job.canceled"
    assert body["data"]["id"] == job.id
    assert body["data"]["status"] == "canceled"
    assert body["data"]["urls"]["self"] == f"https://video.example.com/v1/jobs/{job.id}"
    assert got["headers"]["webhook-id"] == only(db, key_id).id
    assert got["headers"]["content-type"] == "application/json"
    assert only(db, key_id).state is DeliveryState.DELIVERED
    assert only(db, key_id).delivered_at is not None


@pytest.mark.parametrize(
    ("behaviour", "status", "error"),
    [
        ("500", 500, None),
        ("404", 404, None),
        ("redirect", 301, None),
        ("429", 429, None),
        ("cut", None, "protocol"),
        ("slow", None, "timeout"),
    ],
)
def test_what_fails_is_tried_again_with_the_same_id_and_body(
    db: Database,
    key_id: KeyId,
    sender: Sender,
    receiver: Receiver,
    clock: make.FakeClock,
    behaviour: str,
    status: int | None,
    error: str | None,
) -> None:
    canceled(db, key_id, clock(), webhook_url=receiver.url(behaviour))

    first = send(sender, db, key_id)
    waiting = only(db, key_id)
    assert sender.send(waiting.id) is None  # not due yet
    assert waiting.next_at is not None
    clock.now = waiting.next_at
    send(sender, db, key_id)

    assert (first.status, first.error) == (status, error)
    assert waiting.state is DeliveryState.PENDING
    one, two = receiver.got(behaviour)
    assert one["headers"]["webhook-id"] == two["headers"]["webhook-id"] == waiting.id
    assert one["body"] == two["body"]
    assert one["headers"]["webhook-timestamp"] != two["headers"]["webhook-timestamp"]
    assert receiver.got("ok") == []  # a redirect is not followed


def test_an_answer_without_end_is_a_success_like_any_other(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    canceled(db, key_id, clock(), webhook_url=receiver.url("huge"))

    assert send(sender, db, key_id).status == 200
    assert only(db, key_id).state is DeliveryState.DELIVERED


def test_a_wish_to_wait_is_honoured(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    canceled(db, key_id, clock(), webhook_url=receiver.url("429"))

    send(sender, db, key_id)

    assert only(db, key_id).next_at == clock() + timedelta(seconds=3600)


def test_after_the_last_try_a_delivery_is_dead_and_can_be_replayed(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    canceled(db, key_id, clock(), webhook_url=receiver.url("500"))
    for _ in range(MAX_TRIES):
        clock.now = only(db, key_id).next_at or clock.now
        send(sender, db, key_id)

    dead = only(db, key_id)
    assert (dead.state, len(dead.tries)) == (DeliveryState.DEAD, MAX_TRIES)
    assert sender.send(dead.id) is None

    make.do(db, lambda tx: use.replay(tx, dead.id, key_id, clock()))
    send(sender, db, key_id)
    assert {one["headers"]["webhook-id"] for one in receiver.got("500")} == {dead.id}
    assert len({one["body"] for one in receiver.got("500")}) == 1


def test_nobody_learns_what_the_other_side_answered(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    canceled(db, key_id, clock(), webhook_url=receiver.url("500"))

    send(sender, db, key_id)

    assert "canary" not in repr(only(db, key_id))


def test_an_address_that_is_not_allowed_is_not_called_and_tried_again(
    db: Database, key_id: KeyId, sender: Sender, clock: make.FakeClock
) -> None:
    canceled(db, key_id, clock(), webhook_url="https://10.0.0.1/hook")

    assert send(sender, db, key_id).error == "address_refused"
    assert only(db, key_id).state is DeliveryState.PENDING


def test_gone_means_gone(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    endpoint = registered(db, key_id, receiver.url("410"))
    canceled(db, key_id, clock())
    canceled(db, key_id, clock())
    first, second = owed(db, key_id)

    sender.send(first.id)

    found = db.read(lambda tx: deliveries.get_endpoint(tx, endpoint.id))
    assert found is not None
    assert found.disabled_reason == "it answered 410 Gone"
    assert {one.state for one in owed(db, key_id)} == {DeliveryState.DISABLED}
    assert sender.send(second.id) is None
    canceled(db, key_id, clock())
    assert len(owed(db, key_id)) == 2  # nothing more is owed to it
    with pytest.raises(Conflict, match="enable it first"):
        make.do(db, lambda tx: use.replay(tx, second.id, key_id, clock()))

    make.do(db, lambda tx: use.enable(tx, endpoint.id, key_id))
    make.do(db, lambda tx: use.replay(tx, second.id, key_id, clock()))
    canceled(db, key_id, clock())
    assert [one.state for one in owed(db, key_id)].count(DeliveryState.PENDING) == 2


def test_an_endpoint_that_fails_for_days_is_disabled_and_one_success_saves_it(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    endpoint = registered(db, key_id, receiver.url("500"))

    def fail() -> Endpoint:
        job = canceled(db, key_id, clock())
        (delivery,) = db.read(
            lambda tx: deliveries.page(tx, key_id, size=1, filters=DeliveryFilter(job_id=job.id))
        )
        sender.send(delivery.id)
        found = db.read(lambda tx: deliveries.get_endpoint(tx, endpoint.id))
        assert found is not None
        return found

    assert fail().failing_since == clock()
    clock.now += MAX_FAILING - timedelta(seconds=1)
    make.do(
        db, lambda tx: deliveries.set_failing_since(tx, endpoint.id, None)
    )  # as a success would
    assert fail().failing_since == clock()
    clock.now += MAX_FAILING - timedelta(seconds=1)
    assert fail().disabled_at is None
    clock.advance(1)

    assert fail().disabled_reason == "every try failed for 5 days"


def test_a_url_that_is_both_registered_and_named_hears_of_it_once(
    db: Database, key_id: KeyId, receiver: Receiver, clock: make.FakeClock
) -> None:
    endpoint = registered(db, key_id, receiver.url("ok"))

    canceled(db, key_id, clock(), webhook_url=receiver.url("ok"))

    assert only(db, key_id).endpoint_id == endpoint.id


def test_only_what_was_asked_for_is_owed(
    db: Database, key_id: KeyId, receiver: Receiver, clock: make.FakeClock
) -> None:
    registered(db, key_id, receiver.url("ok"), "job.failed")
    canceled(db, key_id, clock(), webhook_url=receiver.url("a"), webhook_events=["job.started"])

    assert owed(db, key_id) == []


def test_a_sender_that_was_given_up_records_nothing(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    canceled(db, key_id, clock(), webhook_url=receiver.url("500"))
    delivery = only(db, key_id)
    old = make.do(db, lambda tx: sender._take(tx, delivery.id))
    assert sender.send(delivery.id) is None  # it is taken

    clock.advance(61)  # its sender has died
    assert sender.send(delivery.id) is not None
    late = Try(at=clock(), status=200)
    held = make.do(
        db,
        lambda tx: deliveries.settle(
            tx, old.delivery, late, state=DeliveryState.DELIVERED, next_at=None
        ),
    )

    assert held is False
    assert only(db, key_id).state is DeliveryState.PENDING


def test_a_replay_fences_off_whoever_is_at_it_and_is_due_at_once(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    canceled(db, key_id, clock(), webhook_url=receiver.url("500"))
    send(sender, db, key_id)
    delivery = only(db, key_id)
    clock.now = delivery.next_at or clock.now
    old = make.do(db, lambda tx: sender._take(tx, delivery.id))

    make.do(db, lambda tx: use.replay(tx, delivery.id, key_id, clock()))

    late = Try(at=clock(), status=200)
    held = make.do(
        db,
        lambda tx: deliveries.settle(
            tx, old.delivery, late, state=DeliveryState.DELIVERED, next_at=None
        ),
    )
    assert held is False
    assert sender.send(delivery.id) is not None


def test_a_replay_before_or_in_the_first_try_makes_no_second_one(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    canceled(db, key_id, clock(), webhook_url=receiver.url("ok"))
    delivery = only(db, key_id)

    before = make.do(db, lambda tx: use.replay(tx, delivery.id, key_id, clock()))
    taken = make.do(db, lambda tx: sender._take(tx, delivery.id))
    during = make.do(db, lambda tx: use.replay(tx, delivery.id, key_id, clock()))

    assert before == delivery
    assert (during.tries, during.next_at) == ((), taken.delivery.next_at)
    assert sender.send(delivery.id) is None  # whoever took it is still at it


def test_the_bytes_of_the_first_try_are_those_of_every_try(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    canceled(db, key_id, clock(), webhook_url=receiver.url("500"))
    numbers = iter(range(9))
    counting = dataclasses.replace(
        sender, renders={OWN_API: lambda *_: f"body {next(numbers)}".encode()}
    )

    for _ in range(2):
        clock.now = only(db, key_id).next_at or clock.now
        counting.send(only(db, key_id).id)

    assert [body_of(got) for got in receiver.got("500")] == [b"body 0", b"body 0"]


def test_senders_that_die_use_up_no_tries(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    canceled(db, key_id, clock(), webhook_url=receiver.url("500"))
    for _ in range(MAX_TRIES + 5):
        assert make.do(db, lambda tx: sender._take(tx, only(db, key_id).id)) is not None
        clock.advance(61)

    send(sender, db, key_id)

    assert only(db, key_id).state is DeliveryState.PENDING


def test_a_clock_that_is_set_back_holds_up_no_delivery(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    canceled(db, key_id, clock(), webhook_url=receiver.url("ok"))
    make.do(db, lambda tx: sender._take(tx, only(db, key_id).id))  # and its sender dies
    clock.advance(-30 * 86_400)

    assert send(sender, db, key_id).status == 200


def test_what_is_owed_outlives_its_job(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    job = canceled(db, key_id, clock(), webhook_url=receiver.url("ok"))

    make.do(db, lambda tx: jobs.delete(tx, job))
    send(sender, db, key_id)

    (got,) = receiver.got("ok")
    assert json.loads(body_of(got))["data"]["id"] == job.id


def test_progress_after_a_replay_is_told_by_a_new_delivery(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    registered(db, key_id, receiver.url("ok"), "job.progress")
    asked = make.submission(key_id)
    make.do(db, lambda tx: submit(tx, asked, Limits(), clock()))
    begun = make.begin(db, make.claim(db, clock()), clock())

    def beat(fraction: float) -> None:
        told = Progress(stage="generate", fraction=fraction)
        now = db.read(lambda tx: jobs.get(tx, begun.id))
        make.do(db, lambda tx: moves.heartbeat(tx, now, told, now=clock(), lease=make.LEASE))

    beat(0.1)
    send(sender, db, key_id)
    make.do(db, lambda tx: use.replay(tx, only(db, key_id).id, key_id, clock()))
    beat(0.5)
    for one in owed(db, key_id):
        sender.send(one.id)

    told = [json.loads(body_of(got))["data"]["progress"] for got in receiver.got("ok")]
    assert sorted(told) == [10, 10, 50]


def test_a_heartbeat_survives_deliveries_that_are_gone_again(
    db: Database, key_id: KeyId, receiver: Receiver, clock: make.FakeClock
) -> None:
    url = receiver.url("ok")
    endpoint = registered(db, key_id, url, "job.progress")
    asked = make.submission(key_id, webhook_url=url, webhook_events=["job.progress"])
    make.do(db, lambda tx: submit(tx, asked, Limits(), clock()))
    begun = make.begin(db, make.claim(db, clock()), clock())

    def beat(fraction: float) -> None:
        told = Progress(stage="generate", fraction=fraction)
        now = db.read(lambda tx: jobs.get(tx, begun.id))
        make.do(db, lambda tx: moves.heartbeat(tx, now, told, now=clock(), lease=make.LEASE))
        for one in owed(db, key_id):
            make.do(db, partial(deliver, one.id))

    def deliver(delivery_id: DeliveryId, tx: Transaction) -> None:
        taken = deliveries.take(tx, delivery_id, now=clock(), lease=make.LEASE)
        if taken is not None:
            deliveries.set_body(tx, taken, b"{}")
            made = Try(at=clock(), status=200)
            done = DeliveryState.DELIVERED
            deliveries.settle(tx, taken, made, state=done, next_at=None)

    beat(0.1)
    make.do(db, lambda tx: deliveries.disable_endpoint(tx, endpoint.id, now=clock(), reason="x"))
    beat(0.3)
    make.do(db, lambda tx: use.remove(tx, endpoint.id, key_id))
    beat(0.5)
    beat(0.7)

    assert len(owed(db, key_id)) == 3


def test_a_body_that_would_be_too_large_leaves_out_the_input_and_says_so(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    canceled(
        db,
        key_id,
        clock(),
        webhook_url=receiver.url("ok"),
        request=make.request(prompt="☃" * 4000, negative_prompt="☃" * 4000),
        metadata={f"label {n}": "☃" * 500 for n in range(16)},
    )

    send(sender, db, key_id)

    (got,) = receiver.got("ok")
    body = json.loads(body_of(got))
    assert len(body_of(got)) <= MAX_BYTES
    assert body["data"]["omitted"] == ["input", "metadata"]
    assert body["data"]["status"] == "canceled"


def test_a_test_event_goes_to_its_endpoint(
    db: Database, key_id: KeyId, sender: Sender, receiver: Receiver, clock: make.FakeClock
) -> None:
    endpoint = registered(db, key_id, receiver.url("ok"))
    made = make.do(db, lambda tx: use.send_test(tx, endpoint.id, key_id, clock()))

    sender.send(made.id)

    (got,) = receiver.got("ok")
    assert json.loads(body_of(got))["type"] == "webhook.test"


def test_an_endpoint_is_its_owners_alone(
    db: Database, key_id: KeyId, receiver: Receiver, clock: make.FakeClock
) -> None:
    stranger, _ = make.key(db)
    endpoint = registered(db, key_id, receiver.url("ok"))
    canceled(db, key_id, clock())
    delivery = only(db, key_id)

    for act in (
        lambda tx: use.find(tx, endpoint.id, stranger),
        lambda tx: use.rotate(tx, endpoint.id, stranger, clock()),
        lambda tx: use.remove(tx, endpoint.id, stranger),
        lambda tx: use.send_test(tx, endpoint.id, stranger, clock()),
        lambda tx: use.replay(tx, delivery.id, stranger, clock()),
    ):
        with pytest.raises(NotFound):
            make.do(db, act)
    assert owed(db, stranger) == []


def test_a_key_has_sixteen_endpoints_at_most_and_each_url_once(db: Database, key_id: KeyId) -> None:
    for number in range(16):
        registered(db, key_id, f"https://a.example/{number}")

    with pytest.raises(Conflict, match="16"):
        registered(db, key_id, "https://a.example/16")
    found = db.read(lambda tx: deliveries.endpoints_of(tx, key_id))
    make.do(db, lambda tx: use.remove(tx, found[0].id, key_id))
    with pytest.raises(Conflict, match="already"):
        registered(db, key_id, "https://a.example/1")


def test_what_is_owed_to_an_endpoint_goes_with_it(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    endpoint = registered(db, key_id, "https://a.example/")
    canceled(db, key_id, clock())

    make.do(db, lambda tx: use.remove(tx, endpoint.id, key_id))

    assert owed(db, key_id) == []


def test_no_delivery_is_found_by_a_wrong_id(db: Database, sender: Sender) -> None:
    assert sender.send(DeliveryId("msg_00000000000000000000000000")) is None


def test_progress_after_a_replay_of_earlier_progress_is_told(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    """Two deliveries wait then, and cannot both be of the newest event."""
    endpoint = registered(db, key_id, "https://example.com/hook", "job.progress")
    make.do(db, lambda tx: submit(tx, make.submission(key_id), Limits(), clock()))
    job = make.begin(db, make.claim(db, clock()), clock())

    def advance(fraction: float) -> None:
        told = Progress(stage="generate", fraction=fraction)
        now = db.read(lambda tx: jobs.get(tx, job.id))
        make.do(db, lambda tx: moves.heartbeat(tx, now, told, now=clock(), lease=make.LEASE))

    def disable(tx: Transaction) -> None:
        deliveries.disable_endpoint(tx, endpoint.id, now=clock(), reason="410")
        deliveries.disable_pending(tx, endpoint.id)

    advance(0.1)
    make.do(db, disable)
    make.do(db, lambda tx: use.enable(tx, endpoint.id, key_id))
    advance(0.3)
    (old,) = [one for one in owed(db, key_id) if one.state is DeliveryState.DISABLED]
    make.do(db, lambda tx: use.replay(tx, old.id, key_id, clock()))

    advance(0.5)

    waiting = [one for one in owed(db, key_id) if one.state is DeliveryState.PENDING]
    assert len({one.event_id for one in waiting}) == len(waiting) == 2
