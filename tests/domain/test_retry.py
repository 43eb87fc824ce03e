from datetime import timedelta

import pytest

from service.domain.attempt import FailureKind
from service.domain.retry import MAX_MACHINE_FAULTS, MAX_WAIT, retry_wait


def test_transient_failures_wait_longer_each_time_and_end() -> None:
    for earlier, seconds in ((0, 5), (1, 10)):
        waits = [
            retry_wait(FailureKind.TRANSIENT, attempts_left=2 - earlier, earlier=earlier)
            for _ in range(100)
        ]
        assert len(set(waits)) > 50
        assert all(0.8 <= wait / timedelta(seconds=seconds) <= 1.2 for wait in waits if wait)
        assert None not in waits

    assert retry_wait(FailureKind.TRANSIENT, attempts_left=0, earlier=2) is None


def test_a_lost_worker_is_replaced_at_once_but_only_once() -> None:
    assert retry_wait(FailureKind.LOST, attempts_left=2, earlier=0) == timedelta(0)
    assert retry_wait(FailureKind.LOST, attempts_left=1, earlier=1) is None


def test_a_fault_of_a_machine_needs_no_attempt_of_the_jobs_and_does_not_go_on_for_ever() -> None:
    waits = [
        retry_wait(FailureKind.MACHINE, attempts_left=0, earlier=earlier)
        for earlier in range(MAX_MACHINE_FAULTS)
    ]

    *some, last = waits
    assert all(wait is not None and wait < MAX_WAIT for wait in some)
    assert last is None


@pytest.mark.parametrize(
    "kind", [FailureKind.USER, FailureKind.TIMEOUT, FailureKind.INTERNAL, FailureKind.CANCELED]
)
def test_what_would_fail_again_is_not_tried_again(kind: FailureKind) -> None:
    assert retry_wait(kind, attempts_left=2, earlier=0) is None
