from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from service.domain.errors import QueueFull, RequestRefused
from service.domain.job import KeyId
from service.domain.limits import Limits
from service.domain.submission import Idempotency
from service.lifecycle.submit import Accepted, submit
from service.store.database import Database
from tests import make

NAMED = Idempotency("order-1", b"a" * 32)


def send(
    db: Database, key_id: KeyId, *, limits: Limits | None = None, **changes: object
) -> Accepted:
    asked = make.submission(key_id, **changes)
    accepted: Accepted = make.do(db, lambda tx: submit(tx, asked, limits or Limits(), make.START))
    return accepted


def test_the_same_name_and_request_make_one_job(db: Database, key_id: KeyId) -> None:
    first = send(db, key_id, idempotency=NAMED)
    again = send(db, key_id, idempotency=NAMED)

    assert (first.replayed, again.replayed) == (False, True)
    assert again.job == first.job


def test_a_hundred_equal_submits_at_once_make_one_job(db: Database, key_id: KeyId) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: send(db, key_id, idempotency=NAMED), range(100)))

    assert len({answer.job.id for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1


def test_the_same_name_with_another_request_is_refused(db: Database, key_id: KeyId) -> None:
    send(db, key_id, idempotency=NAMED)

    with pytest.raises(RequestRefused, match="already used"):
        send(db, key_id, idempotency=Idempotency("order-1", b"b" * 32))


def test_two_keys_may_use_the_same_name(db: Database, key_id: KeyId) -> None:
    stranger, _ = make.key(db)

    assert not send(db, key_id, idempotency=NAMED).replayed
    assert not send(db, stranger, idempotency=NAMED).replayed


def test_a_name_is_forgotten_in_time(db: Database, key_id: KeyId) -> None:
    limits = Limits(keep_idempotency=timedelta(0))

    first = send(db, key_id, idempotency=NAMED, limits=limits)
    second = send(db, key_id, idempotency=NAMED, limits=limits)

    assert first.job.id != second.job.id


def test_a_full_queue_takes_no_more_and_no_less(db: Database, key_id: KeyId) -> None:
    limits = Limits(max_queued_per_key=5)

    def attempt(_: int) -> bool:
        try:
            return bool(send(db, key_id, limits=limits))
        except QueueFull as full:
            return full.retry_after_seconds == 0

    with ThreadPoolExecutor(10) as pool:
        taken = list(pool.map(attempt, range(50)))

    assert sum(taken) == 5


def test_a_refused_job_leaves_its_name_free(db: Database, key_id: KeyId) -> None:
    with pytest.raises(QueueFull):
        send(db, key_id, idempotency=NAMED, limits=Limits(max_queued_per_key=0))

    assert not send(db, key_id, idempotency=NAMED).replayed
