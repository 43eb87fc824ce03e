from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.domain.errors import QueueFull, RequestRefused, StorageFull
from service.domain.ids import JobId, KeyId
from service.domain.job import Idempotency, Submission
from service.domain.limits import Limits
from service.lifecycle.submit import Accepted, Answer, submit_all
from service.store import keys
from service.store.database import Database
from tests import make
from tests.make import submit

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

    assert (first.is_replay, again.is_replay) == (False, True)
    assert again.job == first.job


def test_a_hundred_equal_submits_at_once_make_one_job(db: Database, key_id: KeyId) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: send(db, key_id, idempotency=NAMED), range(100)))

    assert len({answer.job.id for answer in answers}) == 1
    assert sum(not answer.is_replay for answer in answers) == 1


def test_the_same_name_with_another_request_is_refused(db: Database, key_id: KeyId) -> None:
    send(db, key_id, idempotency=NAMED)

    with pytest.raises(RequestRefused, match="already used"):
        send(db, key_id, idempotency=Idempotency("order-1", b"b" * 32))


def test_two_keys_may_use_the_same_name(db: Database, key_id: KeyId) -> None:
    stranger, _ = make.key(db)

    assert not send(db, key_id, idempotency=NAMED).is_replay
    assert not send(db, stranger, idempotency=NAMED).is_replay


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

    assert not send(db, key_id, idempotency=NAMED).is_replay


def together(db: Database, asked: list[Submission], limits: Limits) -> list[Answer]:
    answers: list[Answer] = make.do(db, lambda tx: submit_all(tx, asked, limits, make.START))
    return answers


def test_submits_that_come_at_once_are_judged_one_by_one(db: Database, key_id: KeyId) -> None:
    stranger, _ = make.key(db)
    gone = make.submission(key_id, retry_of=JobId("job_" + "0" * 26))
    other = Idempotency("order-1", b"b" * 32)
    asked = [
        make.submission(key_id, idempotency=NAMED),
        make.submission(key_id),
        gone,
        make.submission(key_id, idempotency=NAMED),
        make.submission(stranger, idempotency=NAMED),
        make.submission(key_id, idempotency=other),
        make.submission(key_id),
    ]

    answers = together(db, asked, Limits(max_queued_per_key=2))

    assert [word(answer) for answer in answers] == [
        "new", "new", "NotFound", "replayed", "new", "RequestRefused", "QueueFull"
    ]  # fmt: skip
    assert isinstance(answers[0], Accepted)
    assert isinstance(answers[3], Accepted)
    assert answers[0].job == answers[3].job
    assert db.read(keys.count_queued) == 3


def test_without_room_nothing_new_is_taken_at_once_or_alone(db: Database, key_id: KeyId) -> None:
    def full() -> None:
        raise StorageFull("no room")

    send(db, key_id, idempotency=NAMED)
    asked = [make.submission(key_id), make.submission(key_id, idempotency=NAMED)]
    answers: list[Answer] = make.do(
        db, lambda tx: submit_all(tx, asked, Limits(), make.START, full)
    )

    assert [word(answer) for answer in answers] == ["StorageFull", "replayed"]


def word(answer: Answer) -> str:
    if isinstance(answer, Accepted):
        return "replayed" if answer.is_replay else "new"
    return type(answer).__name__


PLANS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from(["", "x", "y"]),
        st.sampled_from([b"1", b"2"]),
        st.sampled_from([0.0, 0.4, 1.0]),
    ),
    max_size=12,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(  # the second asks for the first one's name, and for the only place
    plan=[("a", "x", b"1", 0.4), ("a", "x", b"1", 0.0), ("a", "", b"1", 0.0)], cap=1, budget=0
)
@given(plan=PLANS, cap=st.integers(0, 5), budget=st.sampled_from([None, 0, 1_500_000]))
def test_at_once_is_the_same_as_one_after_the_other(
    db: Database, plan: list[tuple[str, str, bytes, float]], cap: int, budget: int | None
) -> None:
    limits = Limits(max_queued_per_key=cap)
    results = []
    for at_once in (True, False):
        owners = {name: make.key(db)[0] for name in "ab"}
        make.do(db, lambda tx, a=owners["a"]: keys.set_budget(tx, a, budget))
        asked = [
            make.submission(
                owners[owner],
                idempotency=Idempotency(name, mark * 32) if name else None,
                estimated_usd=usd,
            )
            for owner, name, mark, usd in plan
        ]
        if at_once:
            answers = together(db, asked, limits)
        else:
            answers = [together(db, [one], limits)[0] for one in asked]
        results.append([word(answer) for answer in answers])

    assert results[0] == results[1]
