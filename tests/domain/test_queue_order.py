from datetime import timedelta

from service.domain.ids import JobId, KeyId
from service.domain.queue_order import Forecast, QueueOrder, Waiting, in_turn
from tests.make import START

A, B, C = KeyId("a"), KeyId("b"), KeyId("c")


def waiting(name: str, key: KeyId, *, priority: int = 1, late: float = 0) -> Waiting:
    run_at = START + timedelta(seconds=late)
    return Waiting(JobId(name), key, "slate", priority, run_at, 1000)


def names(order: list[Waiting]) -> str:
    return "".join(job.key_id for job in order)


def test_keys_take_turns_whatever_they_have_waiting() -> None:
    queue = [
        waiting(f"{key}{number}", key, late=-1)
        for key, count in ((A, 5), (B, 2), (C, 3))
        for number in range(count)
    ]

    assert names(in_turn(queue, {}, START)) == "abcabcacaa"


def test_the_key_that_was_served_longest_ago_is_first() -> None:
    queue = [waiting("a1", A), waiting("b1", B), waiting("c1", C)]

    assert names(in_turn(queue, {A: 7, B: 3, C: 5}, START)) == "bca"


def test_a_higher_priority_goes_before_any_turn() -> None:
    queue = [waiting("a1", A), waiting("b1", B), waiting("a2", A, priority=0)]

    order = in_turn(queue, {}, START)

    assert [job.id for job in order] == ["a2", "b1", "a1"]


def test_what_may_not_run_yet_is_behind_all_that_may() -> None:
    queue = [waiting("a1", A, priority=0, late=60), waiting("b1", B, priority=2)]

    assert names(in_turn(queue, {}, START)) == "ba"


def test_a_forecast_fills_the_workers_as_they_become_free() -> None:
    order = [waiting(str(n), A) for n in range(4)]

    outlook = QueueOrder(order, [500.0], workers=2, now=START)

    assert [outlook.of(job) for job in order] == [
        Forecast(0, 0.0),
        Forecast(1, 500.0),
        Forecast(2, 1000.0),
        Forecast(3, 1500.0),
    ]


def test_without_a_worker_there_is_a_place_and_no_time() -> None:
    job = waiting("a1", A)

    assert QueueOrder([job], [], workers=0, now=START).of(job) == Forecast(0, None)


def test_a_job_that_came_since_is_put_where_its_turn_is() -> None:
    batch = [waiting(f"a{n}", A) for n in range(500)]
    outlook = QueueOrder(in_turn(batch, {}, START), [], workers=1, now=START)

    single = outlook.of(waiting("b1", B))
    next_of_batch = outlook.of(waiting("a500", A))
    urgent = outlook.of(waiting("c1", C, priority=0))

    assert single == Forecast(1, 1000.0)
    assert next_of_batch.position == 501
    assert urgent.position == 0
