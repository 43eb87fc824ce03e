from datetime import timedelta

import pytest

from service.domain.clock import PATIENCE, ServiceClock, Timeline
from tests.make import START, FakeClock

HOUR = timedelta(hours=1)


def test_the_services_time_runs_on_evenly_while_the_machines_clock_is_set() -> None:
    wall, steady = FakeClock(), FakeClock()
    clock = ServiceClock(wall, steady.steady)

    steady.advance(10)
    wall.advance(3610)

    assert clock() == START + timedelta(seconds=10)
    assert clock.error() == HOUR
    clock.move(clock.error())
    assert clock() == wall()
    assert clock.passed() == START + timedelta(seconds=10)


def test_time_that_nobody_saw_pass_counts_once_the_service_has_run_long() -> None:
    line = Timeline(START).after_jump(8 * timedelta(days=1), START + timedelta(days=8))

    for run in (timedelta(0), PATIENCE - timedelta(seconds=1)):
        now = line.seen_at + run
        assert line.certain_time(now) == START + run
        assert line.advance(now).certain_time(now) == START + run
    now = line.seen_at + PATIENCE
    assert line.certain_time(now) == now
    assert line.advance(now) == Timeline(now)


def test_a_jump_and_the_way_back_leave_no_doubt() -> None:
    there = Timeline(START).after_jump(HOUR, START + HOUR)

    back = there.after_jump(-HOUR, START)

    assert back.certain_time(START) == START


def test_a_clock_that_is_set_back_first_and_right_again_deletes_nothing_early() -> None:
    back = Timeline(START).after_jump(-HOUR, START - HOUR)

    right = back.after_jump(HOUR, START)

    assert right.certain_time(START) == START - HOUR


@pytest.mark.parametrize("run", [HOUR, 2 * HOUR, 5 * HOUR])
def test_a_machine_that_rests_again_and_again_gets_out_of_its_doubts(run: timedelta) -> None:
    line, away = Timeline(START), 19 * HOUR

    for _ in range(40):
        line = line.after_jump(away, line.seen_at + away).advance(line.seen_at + away + run)
        rests = 2 * PATIENCE // run + 1
        assert line.seen_at - line.certain_time(line.seen_at) <= rests * away

    now = line.seen_at + PATIENCE
    assert line.certain_time(now) == now


def test_every_jump_is_in_doubt_for_as_long_whatever_was_in_doubt_before() -> None:
    line, jump = Timeline(START), 20 * HOUR

    for minutes in (0, 359, 30, 200, 10):
        line = line.advance(line.seen_at + timedelta(minutes=minutes))
        line = line.after_jump(jump, line.seen_at + jump)

        almost = line.seen_at + PATIENCE - timedelta(seconds=1)
        assert almost - line.certain_time(almost) >= jump
