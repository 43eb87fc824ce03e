"""Work that waits for locks, without a database."""

from typing import Any

from service.store.lock_waits import LockWaits
from service.store.work import Work


def work(lock: object = None) -> Work[Any, Any]:
    return Work(lambda tx, items: items, None, lock=lock)


def test_of_many_locks_a_few_are_tried_at_a_time_and_each_in_its_turn() -> None:
    moment = 0.0
    waits = LockWaits(now=lambda: moment)
    waiting = [work() for _ in range(10)]
    for each in waiting:
        assert waits.add(each)

    rounds = []
    for _ in range(5):
        moment += 0.1
        rounds.append([each for lock in waits.take_due() for each in lock])
        for each in rounds[-1]:
            assert waits.add(each)

    assert all(1 <= len(tried) <= 4 for tried in rounds)
    in_turn = [waiting.index(each) for tried in rounds for each in tried]
    assert in_turn == [number % 10 for number in range(len(in_turn))]
    assert len(in_turn) > 10


def test_after_a_try_in_vain_there_is_a_pause_before_the_next_locks() -> None:
    moment = 0.0
    waits = LockWaits(now=lambda: moment)
    for _ in range(10):
        waits.add(work())
    moment = 1.0

    tried = [each for lock in waits.take_due() for each in lock]
    moment = 2.0
    for each in tried:
        waits.add(each)

    assert waits.take_due() == []
    assert waits.pause()


def test_those_of_one_lock_are_tried_together() -> None:
    moment = 0.0
    waits = LockWaits(now=lambda: moment)
    for _ in range(10):
        waits.add(work("a key"))
    moment = 1.0

    (lock,) = waits.take_due()

    assert len(lock) == 10
