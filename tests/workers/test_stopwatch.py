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
