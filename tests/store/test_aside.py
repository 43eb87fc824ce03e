"""Work that waits for locks, without a database."""

from typing import Any

from service.store.aside import LockWaits
from service.store.work import Work


def work(lane: object = None) -> Work[Any, Any]:
    return Work(lambda tx, items: items, None, lane=lane)


def test_of_many_locks_a_few_are_tried_at_a_time_and_each_in_its_turn() -> None:
    moment = 0.0
    aside = LockWaits(now=lambda: moment)
    waiting = [work() for _ in range(10)]
    for each in waiting:
        assert aside.put(each)

    rounds = []
    for _ in range(5):
        moment += 0.1
        rounds.append([each for lane in aside.take_due() for each in lane])
        for each in rounds[-1]:
            assert aside.put(each)

    assert all(1 <= len(tried) <= 4 for tried in rounds)
    in_turn = [waiting.index(each) for tried in rounds for each in tried]
    assert in_turn == [number % 10 for number in range(len(in_turn))]
    assert len(in_turn) > 10


def test_after_a_try_in_vain_there_is_a_pause_before_the_next_lanes() -> None:
    moment = 0.0
    aside = LockWaits(now=lambda: moment)
    for _ in range(10):
        aside.put(work())
    moment = 1.0

    tried = [each for lane in aside.take_due() for each in lane]
    moment = 2.0
    for each in tried:
        aside.put(each)

    assert aside.take_due() == []
    assert aside.pause()


def test_those_of_one_lane_are_tried_together() -> None:
    moment = 0.0
    aside = LockWaits(now=lambda: moment)
    for _ in range(10):
        aside.put(work("a key"))
    moment = 1.0

    (lane,) = aside.take_due()

    assert len(lane) == 10
