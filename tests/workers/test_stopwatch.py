import time

from service.workers.stopwatch import Stopwatch


def test_making_and_using_are_counted_apart() -> None:
    watch = Stopwatch()

    def items():  # type: ignore[no-untyped-def]
        for number in range(3):
            time.sleep(0.02)
            yield number

    with watch.time("encode"):
        for _ in watch.timed("generate", items()):
            time.sleep(0.01)

    spent = watch.milliseconds()
    assert spent["generate"] >= 60
    assert 30 <= spent["encode"] < spent["total"]
    assert spent["total"] >= spent["generate"] + spent["encode"] - 1


def test_what_was_spent_ahead_counts_in_what_is_paid_and_not_in_how_long_it_took() -> None:
    watch = Stopwatch(before=100.0)

    assert 100 <= watch.spent() < 150
    assert watch.total() < 50
    assert watch.milliseconds()["total"] < 50_000


def test_a_model_that_another_clip_has_is_not_paid_for() -> None:
    given: list[bool] = []
    handed, held = Stopwatch(5.0, lambda: given.append(True)), Stopwatch(5.0)
    for watch in (handed, held):
        watch.let_model_go()
    time.sleep(0.05)

    assert given == [True]
    assert 5 <= handed.spent() < 5.04 < 5.05 <= held.spent()
    assert handed.total() >= 0.05
