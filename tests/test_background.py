import threading
from datetime import UTC, datetime, timedelta

from service.background import Ticker


class Counting:
    """A rescuer that counts its ticks."""

    def __init__(self) -> None:
        self.ticks = 0
        self.ticked = threading.Event()

    def tick(self, now: datetime) -> int:
        self.ticks += 1
        self.ticked.set()
        return 0


def test_ticks_begin_after_the_grace_and_survive_a_failure() -> None:
    class Failing(Counting):
        def tick(self, now: datetime) -> int:
            super().tick(now)
            raise RuntimeError("as planned")

    rescuer = Failing()
    ticker = Ticker(rescuer, lambda: datetime.now(UTC), seconds=0.01, grace=0.05)  # type: ignore[arg-type]
    ticker.start()
    assert rescuer.ticked.wait(5)
    rescuer.ticked.clear()
    assert rescuer.ticked.wait(5)
    ticker.stop()

    assert rescuer.ticks >= 2


def test_a_jump_of_the_clock_is_followed_by_another_grace() -> None:
    jump = timedelta(0)
    ticker = Ticker(
        Counting(),  # type: ignore[arg-type]
        lambda: datetime.now(UTC) + jump,
        seconds=1,
        grace=30,
    )
    assert not ticker._clock_jumped()

    jump = timedelta(hours=1)

    assert ticker._clock_jumped()
    assert not ticker._clock_jumped()
