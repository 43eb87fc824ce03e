import threading
from datetime import UTC, datetime, timedelta

import pytest

from service.domain.errors import Unavailable
from service.runtime.ticker import Tick, Ticker


class Counting:
    """A tick that counts itself."""

    def __init__(self) -> None:
        self.ticks = 0
        self.ticked = threading.Event()

    def __call__(self, now: datetime) -> None:
        self.ticks += 1
        self.ticked.set()


def fail(now: datetime) -> None:
    raise RuntimeError("as planned")


def ticker(*ticks: Tick, ours: bool = True, grace: float = 0.05) -> Ticker:
    return Ticker(list(ticks), lambda: ours, lambda: datetime.now(UTC), seconds=0.01, grace=grace)


def test_a_tick_that_fails_holds_up_no_other_and_not_the_next() -> None:
    after = Counting()
    running = ticker(fail, after)
    running.start()
    assert after.ticked.wait(5)
    after.ticked.clear()
    assert after.ticked.wait(5)
    running.stop()


def test_nothing_ticks_within_the_grace() -> None:
    tick = Counting()
    patient = ticker(tick, grace=3600)
    patient.start()

    patient._tick()
    patient.stop()

    assert tick.ticks == 0


def test_nothing_ticks_while_it_is_another_processs_turn() -> None:
    tick = Counting()
    waiting = ticker(tick, ours=False, grace=30)

    waiting._tick()
    assert tick.ticks == 0
    waiting._leads = lambda: True
    waiting._tick()
    assert tick.ticks == 0  # perhaps nobody had it: no worker was heard for a while
    waiting._ready_at = 0.0  # as if the grace were over
    waiting._tick()

    assert tick.ticks == 1


@pytest.mark.parametrize("hours", [1, -1])
def test_a_jump_of_the_clock_is_followed_by_another_grace(hours: int) -> None:
    jump = timedelta(0)
    tick = Counting()
    jumpy = Ticker(
        [tick],
        lambda: True,
        lambda: datetime.now(UTC) + jump,
        seconds=1,
        grace=30,
    )
    jumpy._tick()
    assert tick.ticks == 1

    jump = timedelta(hours=hours)
    jumpy._tick()

    assert tick.ticks == 1
    assert not jumpy._clock_jumped()


def test_a_clock_that_moves_in_the_very_tick_is_judged_after_a_grace() -> None:
    moved = timedelta(0)
    tick = Counting()

    def follow() -> bool:
        nonlocal moved
        moved = timedelta(seconds=9)
        return True

    short = Ticker([tick], follow, lambda: datetime.now(UTC) + moved, seconds=1, grace=9)

    short._tick()

    assert tick.ticks == 0


def test_while_the_database_was_away_no_worker_could_be_heard() -> None:
    def away(now: datetime) -> None:
        raise Unavailable("the database does not answer")

    tick = Counting()
    back = ticker(away, tick, grace=30)
    back._tick()
    assert tick.ticks == 1

    back._tick()

    assert tick.ticks == 1


def test_while_this_process_was_held_up_no_worker_could_be_heard() -> None:
    tick = Counting()
    paused = ticker(tick, grace=30)
    paused._checked_at -= 60

    paused._tick()

    assert tick.ticks == 0
