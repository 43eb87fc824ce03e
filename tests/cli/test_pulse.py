"""How the supervisor tells an API that hangs from a machine that is busy, or was suspended."""

import os
from collections.abc import Iterator

import pytest

from service.cli.processes.pulse import Pulse, beat, open_pulse

PATIENCE = 60.0


@pytest.fixture
def ends() -> Iterator[tuple[Pulse, int]]:
    pulse, theirs = open_pulse(PATIENCE)
    os.set_blocking(theirs, False)
    yield pulse, theirs
    pulse.close()
    os.close(theirs)


def rounds_until_it_has_stopped(pulse: Pulse, waited: float) -> int:
    for number in range(1, 10_000):
        if pulse.has_stopped(waited):
            return number
    raise AssertionError("it never has")


def test_a_process_that_falls_silent_is_told_after_the_patience(ends: tuple[Pulse, int]) -> None:
    pulse, theirs = ends
    beat(theirs)
    assert not pulse.has_stopped(0.2)

    assert 299 <= rounds_until_it_has_stopped(pulse, 0.2) <= 301


def test_one_sign_of_life_is_enough(ends: tuple[Pulse, int]) -> None:
    pulse, theirs = ends
    for _ in range(10):
        beat(theirs)
        for _ in range(55):
            assert not pulse.has_stopped(1.0)


def test_a_machine_that_was_suspended_makes_nobody_look_hung(ends: tuple[Pulse, int]) -> None:
    """A night of silence is one step of the watch."""
    pulse, theirs = ends
    beat(theirs)
    assert not pulse.has_stopped(0.2)

    assert not pulse.has_stopped(8 * 3600)


def test_a_machine_so_busy_that_the_watch_itself_is_slow_gives_more_time(
    ends: tuple[Pulse, int],
) -> None:
    pulse, theirs = ends
    beat(theirs)
    assert not pulse.has_stopped(0.2)

    assert rounds_until_it_has_stopped(pulse, 20.0) == PATIENCE


def test_a_process_that_starts_is_given_longer(ends: tuple[Pulse, int]) -> None:
    pulse, _ = ends

    assert rounds_until_it_has_stopped(pulse, 1.0) == 300


def test_signs_that_nobody_reads_hold_no_process_up(ends: tuple[Pulse, int]) -> None:
    pulse, theirs = ends

    for _ in range(100_000):  # more than a pipe holds
        beat(theirs)

    assert not pulse.has_stopped(1.0)
