import time
from collections.abc import Iterator

from service.workers.stopwatch import Stopwatch


def test_making_and_using_are_counted_apart() -> None:
    watch = Stopwatch()

    def items():  # type: ignore[no-untyped-def]
        for number in range(3):
            time.sleep(0.02)
            yield number

    with watch.time("encode"):
        for _ in watch.time_items("generate", items()):
            time.sleep(0.01)

    spent = watch.milliseconds()
    assert spent["generate"] >= 60
    assert 30 <= spent["encode"] < spent["total"]
    assert spent["total"] >= spent["generate"] + spent["encode"] - 1


def test_decoding_is_counted_apart_from_the_steps_before_it() -> None:
    watch = Stopwatch()

    def items() -> Iterator[int]:
        for stage, seconds in (("generate", 0.05), ("generate", 0.05), ("decode", 0.0)):
            time.sleep(seconds)
            watch.note_step(stage)
        time.sleep(0.04)
        watch.note_step("decode")
        yield 1

    for _ in watch.time_items("generate", items()):
        pass

    spent = watch.milliseconds()
    assert spent["decode"] >= 40
    assert spent["generate"] >= 100
    assert spent["total"] >= spent["generate"] + spent["decode"] - 2


def test_what_was_spent_ahead_counts_in_what_is_paid_and_not_in_how_long_it_took() -> None:
    began = time.perf_counter()
    watch = Stopwatch(preload_seconds=100.0)

    spent, total = watch.gpu_seconds(), watch.total()
    milliseconds = watch.milliseconds()["total"]
    passed = time.perf_counter() - began

    assert 100 <= spent <= 100 + passed
    assert 0 <= total <= passed
    assert 0 <= milliseconds <= passed * 1000 + 1


def test_a_model_that_another_clip_has_is_not_paid_for() -> None:
    given: list[bool] = []
    handed, held = Stopwatch(5.0, lambda: given.append(True)), Stopwatch(5.0)
    for watch in (handed, held):
        watch.release_model()
    paid = handed.gpu_seconds()
    time.sleep(0.05)

    assert given == [True]
    assert 5 <= paid == handed.gpu_seconds()
    assert held.gpu_seconds() >= 5.05
    assert handed.total() >= 0.05
