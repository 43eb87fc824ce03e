"""When cron lines are due."""

from datetime import datetime

import pytest

from dev.loopback_modal.cron import matches

NOON = datetime.fromisoformat("2026-11-22T12:30:00+00:00")  # a Sunday


@pytest.mark.parametrize(
    ("line", "due"),
    [
        ("* * * * *", True),
        ("*/15 * * * *", True),
        ("*/20 * * * *", False),
        ("5/5 * * * *", True),
        ("0,30 11-13 * * *", True),
        ("30 12 22 11 *", True),
        ("30 12 * * 7", True),
        ("30 12 * * 1-5", False),
        ("30 12 1 * 0", True),
    ],
)
def test_a_cron_line_names_its_minutes(line: str, due: bool) -> None:
    assert matches(line, NOON) is due
