from datetime import timedelta
from email.utils import format_datetime

import pytest

from service.webhooks.timetable import MAX_TRIES, WAITS, next_try
from tests.make import START


def waits(attempt: int, retry_after: str | None = None) -> set[timedelta]:
    found = [next_try(attempt, START, retry_after) for _ in range(200)]
    assert None not in found
    return {at - START for at in found if at is not None}


@pytest.mark.parametrize("attempt", range(1, MAX_TRIES))
def test_each_wait_is_the_timetables_with_a_fifth_of_jitter(attempt: int) -> None:
    found = waits(attempt)

    assert len(found) > 100
    assert WAITS[attempt - 1] * 0.8 <= min(found) < WAITS[attempt - 1] * 0.85
    assert WAITS[attempt - 1] * 1.15 < max(found) <= WAITS[attempt - 1] * 1.2


def test_there_are_ten_tries_over_some_three_days() -> None:
    assert MAX_TRIES == 10
    assert timedelta(hours=75) < sum(WAITS, timedelta(0)) < timedelta(hours=76)
    assert next_try(10, START, None) is None


@pytest.mark.parametrize("asked", ["3600", format_datetime(START + timedelta(hours=1))])
def test_a_receiver_may_ask_for_a_longer_wait(asked: str) -> None:
    assert waits(1, asked) == {timedelta(hours=1)}


def test_but_not_for_a_shorter_one_or_for_ever() -> None:
    assert min(waits(2, "1")) > timedelta(minutes=3)
    assert waits(1, "999999999") == {timedelta(hours=24)}


@pytest.mark.parametrize("asked", ["soon", "-5", "1e9", "٣", "", "Mon, 99 Foo 2026", "9" * 40])
def test_nonsense_asks_for_nothing(asked: str) -> None:
    assert max(waits(1, asked)) < timedelta(seconds=7)
